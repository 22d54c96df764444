//! Archives of images, made by hand.
#![allow(dead_code, clippy::unwrap_used)] // Each test program uses a part of it.

use std::collections::BTreeMap;
use std::path::Path;

use box_cache::{Cache, Digest, Image, LoadOptions, NoProgress, Platform, Result};
use serde_json::{Value, json};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub const CONTAINERD: &str = "io.containerd.image.name";

/// An image layout in the making.
#[derive(Default)]
pub struct Layout {
    pub blobs: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    pub fn blob(&mut self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        let path = format!("blobs/sha256/{}", digest.hex());
        self.blobs.insert(path, bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub fn document(&mut self, document: &Value, media_type: &str) -> Value {
        self.blob(document.to_string().as_bytes(), media_type)
    }

    /// An image of one layer with one file of this content.
    pub fn image(&mut self, content: &str, platform: Value) -> Value {
        let layer = tar(&[("file", content.as_bytes())]);
        let diff_id = Digest::of(&layer);
        let mut config = json!({"rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        config
            .as_object_mut()
            .unwrap()
            .extend(platform.as_object().unwrap().clone());
        let config = self.document(&config, CONFIG);
        let layer = self.blob(&layer, LAYER);
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        self.document(&manifest, MANIFEST)
    }

    pub fn host_image(&mut self, content: &str) -> Value {
        let host = Platform::host();
        self.image(content, json!({"os": host.os(), "architecture": host.architecture(), "variant": host.variant()}))
    }

    pub fn list(&mut self, manifests: &[Value]) -> Value {
        self.document(
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}),
            INDEX,
        )
    }

    pub fn archive(&self, manifests: &[Value]) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let blobs = self
            .blobs
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
        tar(&blobs
            .chain([("index.json", index.as_bytes())])
            .collect::<Vec<_>>())
    }
}

pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
    descriptor[key] = value;
    descriptor
}

pub fn named(descriptor: Value, key: &str, name: &str) -> Value {
    with(descriptor, "annotations", json!({key: name}))
}

/// What docker saved, of one layer with one file.
pub fn docker(content: &str, tags: Value) -> Vec<u8> {
    let layer = tar(&[("file", content.as_bytes())]);
    let config =
        json!({"rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}}).to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": tags, "Layers": ["l.tar"]}]).to_string();
    tar(&[
        ("l.tar", &layer),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ])
}

pub fn load(cache: &Cache, archive: &[u8]) -> Result<Vec<Image>> {
    load_as(cache, archive, None)
}

pub fn load_as(cache: &Cache, archive: &[u8], name: Option<&str>) -> Result<Vec<Image>> {
    let options = LoadOptions {
        name: name.map(|name| name.parse().unwrap()),
        ..LoadOptions::default()
    };
    cache.load(archive, "archive", &options, &NoProgress)
}

pub fn find(cache: &Cache, reference: &str) -> Option<Image> {
    cache
        .find(&reference.parse().unwrap(), &Platform::host())
        .unwrap()
}

pub fn keys(cache: &Cache) -> Vec<String> {
    let images = cache.images().unwrap();
    images.iter().map(|image| image.reference.key()).collect()
}

pub fn new(scratch: &Path, name: &str) -> Cache {
    Cache::open(scratch.join(name)).unwrap()
}
