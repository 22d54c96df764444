//! Images, made in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Layer, digest};

/// A manifest or an index, byte for byte, with all that it refers to.
#[derive(Clone, Debug)]
pub struct Image {
    /// The document.
    pub bytes: Vec<u8>,
    /// Its media type, as a registry says it.
    pub media_type: String,
    /// The blobs of the manifests, by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// The manifests below an index, by digest, with their media types.
    pub children: BTreeMap<String, (String, Vec<u8>)>,
    platform: Value,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

impl Image {
    /// An image for this machine. Its command is `sh`.
    pub fn new(layers: &[Layer]) -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self::for_platform(layers, json!({"os": "linux", "architecture": arch}))
    }

    /// An image for a platform, such as `{"os": "linux", "architecture": "arm", "variant": "v7"}`.
    pub fn for_platform(layers: &[Layer], platform: Value) -> Self {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let mut config = platform.clone();
        config["config"] = json!({
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["created"] = json!("2024-01-02T03:04:05Z");
        let history = |n: usize| json!({"created_by": format!("layer {n}"), "created": "2024-01-02T03:04:05Z"});
        config["history"] = (0..layers.len()).map(history).collect();
        let config = text(&config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(&config), "size": config.len()},
            "layers": layers.iter().map(Layer::descriptor).collect::<Value>(),
        });
        let mut blobs: BTreeMap<_, _> = layers
            .iter()
            .map(|layer| (layer.digest(), layer.blob.clone()))
            .collect();
        blobs.insert(digest(&config), config);
        Self {
            bytes: text(&manifest),
            media_type: MANIFEST.to_owned(),
            blobs,
            children: BTreeMap::new(),
            platform,
        }
    }

    /// An image of Alpine's files and some small layers above them, each with a file `/layerN`.
    pub fn alpine(more: usize) -> Self {
        let mut layers = vec![Layer::alpine()];
        for n in 1..=more {
            layers.push(Layer::of(&[(
                &format!("layer{n}"),
                format!("{n}\n").as_bytes(),
            )]));
        }
        Self::new(&layers)
    }

    /// An index of images and indexes, each with its own platform.
    pub fn index(children: &[Image]) -> Self {
        let manifests = children.iter().map(Self::descriptor).collect::<Value>();
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let mut index = Self {
            bytes: text(&document),
            media_type: INDEX.to_owned(),
            blobs: BTreeMap::new(),
            children: BTreeMap::new(),
            platform: Value::Null,
        };
        for child in children {
            index.blobs.extend(child.blobs.clone());
            index.children.extend(child.children.clone());
            let document = (child.media_type.clone(), child.bytes.clone());
            index.children.insert(child.digest(), document);
        }
        index
    }

    /// Any document, with its media type and the blobs that it refers to.
    pub fn document(media_type: &str, bytes: Vec<u8>, blobs: &[Vec<u8>]) -> Self {
        Self {
            bytes,
            media_type: media_type.to_owned(),
            blobs: blobs.iter().map(|b| (digest(b), b.clone())).collect(),
            children: BTreeMap::new(),
            platform: Value::Null,
        }
    }

    /// What buildkit adds to an index beside an image: a manifest of `unknown/unknown` with statements about it.
    pub fn attestation() -> Self {
        let mut layer = Layer::plain(b"{\"_type\":\"https://in-toto.io/Statement/v0.1\"}");
        layer.media_type = "application/vnd.in-toto+json".to_owned();
        let unknown = json!({"os": "unknown", "architecture": "unknown"});
        Self::for_platform(&[layer], unknown)
    }

    /// Changes the document.
    pub fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut document = self.json();
        edit(&mut document);
        self.bytes = text(&document);
        self
    }

    /// Changes the config, and its descriptor in the manifest.
    pub fn with_config(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut document = self.json();
        let old = document["config"]["digest"].as_str().unwrap_or_default();
        let old = self.blobs.remove(old).expect("the manifest has a config");
        let mut config = serde_json::from_slice(&old).expect("the config is JSON");
        edit(&mut config);
        let config = text(&config);
        document["config"]["digest"] = json!(digest(&config));
        document["config"]["size"] = json!(config.len());
        self.blobs.insert(digest(&config), config);
        self.bytes = text(&document);
        self
    }

    /// The same with docker's media types.
    pub fn docker(mut self) -> Self {
        let text = String::from_utf8(self.bytes).expect("documents are text");
        let docker = |text: &str| {
            text.replace(
                MANIFEST,
                "application/vnd.docker.distribution.manifest.v2+json",
            )
            .replace(
                INDEX,
                "application/vnd.docker.distribution.manifest.list.v2+json",
            )
            .replace(CONFIG, "application/vnd.docker.container.image.v1+json")
            .replace(
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            )
        };
        self.bytes = docker(&text).into_bytes();
        self.media_type = docker(&self.media_type);
        self
    }

    /// The document as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("the document is JSON")
    }

    /// The digest of the document.
    pub fn digest(&self) -> String {
        digest(&self.bytes)
    }

    /// The digest of the config of a manifest.
    pub fn config_digest(&self) -> String {
        let document = self.json();
        let digest = document["config"]["digest"].as_str();
        digest.expect("the manifest has a config").to_owned()
    }

    /// The digests of the layers of a manifest.
    pub fn layer_digests(&self) -> Vec<String> {
        let document = self.json();
        let layers = document["layers"].as_array().into_iter().flatten();
        layers
            .filter_map(|layer| Some(layer["digest"].as_str()?.to_owned()))
            .collect()
    }

    /// Its descriptor, as an index has it.
    pub fn descriptor(&self) -> Value {
        let mut descriptor = json!({
            "mediaType": self.media_type,
            "digest": self.digest(),
            "size": self.bytes.len(),
        });
        if !self.platform.is_null() {
            descriptor["platform"] = self.platform.clone();
        }
        descriptor
    }

    /// Writes an OCI image layout with this one image, which other programs copy as `oci:DIR:TAG`.
    pub fn write_layout(&self, dir: &Path, tag: &str) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("the test's directory is writable");
        let write = |digest: &str, bytes: &[u8]| {
            let hex = digest.trim_start_matches("sha256:");
            fs::write(blobs.join(hex), bytes).expect("the test's directory is writable");
        };
        write(&self.digest(), &self.bytes);
        for (digest, (_, bytes)) in &self.children {
            write(digest, bytes);
        }
        for (digest, bytes) in &self.blobs {
            write(digest, bytes);
        }
        let mut descriptor = self.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        for (name, document) in [("index.json", index), ("oci-layout", layout)] {
            fs::write(dir.join(name), text(&document)).expect("the test's directory is writable");
        }
    }
}

fn text(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("JSON can be written")
}
