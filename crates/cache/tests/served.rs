//! Images whose documents come from a registry.

#![allow(clippy::unwrap_used)]

mod fixture;

use box_cache::{
    Cache, Digest, Error, Image, Layer, Platform, Provenance, Reference, Served, ServedImage,
    Verified,
};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The documents of an image of these layers for `linux/<architecture>`: manifest and config, with spaces that no program would
/// write again.
fn documents(layers: &[Layer], architecture: &str) -> (Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<String> = layers.iter().map(|l| l.diff_id.to_string()).collect();
    let config = json!({"os": "linux", "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = format!(" {config:#}\n").into_bytes();
    let layers: Vec<Value> = layers
        .iter()
        .map(|l| json!({"mediaType": l.media_type, "digest": l.digest, "size": l.size}))
        .collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": {"mediaType": CONFIG, "digest": Digest::of(&config), "size": config.len()}});
    (format!("\n{manifest:#} ").into_bytes(), config)
}

fn index(manifests: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<Value> = manifests
        .iter()
        .map(|m| json!({"mediaType": MANIFEST, "digest": Digest::of(m), "size": m.len()}))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    index.to_string().into_bytes()
}

fn served(reference: &str, layers: &[Layer], architecture: &str) -> ServedImage {
    let (manifest, config) = documents(layers, architecture);
    ServedImage {
        reference: reference.parse().unwrap(),
        described: None,
        media_type: MANIFEST.to_owned(),
        manifest,
        config,
        indexes: Vec::new(),
        provenance: Provenance {
            url: "registry.example/app".to_owned(),
            fetched: 1,
            verified: Verified::Checksum,
            version: None,
            served: None,
        },
    }
}

fn publish(cache: &Cache, image: ServedImage) -> Result<Image, Error> {
    let hold = cache.hold().unwrap();
    cache.stage_served(&hold, image, Vec::new())?.publish(None)
}

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    (dir, cache)
}

fn find(cache: &Cache, reference: &str) -> Option<Image> {
    cache
        .find(&reference.parse().unwrap(), &Platform::host())
        .unwrap()
}

fn host() -> String {
    Platform::host().architecture().to_owned()
}

#[test]
fn documents_stay_as_they_are() {
    let (_dir, cache) = cache();
    let layer = fixture::commit(&cache, b"layer");
    let mut image = served("registry.example/app:1", &[layer], &host());
    image.indexes = vec![index(&[&image.manifest])];
    let found = publish(&cache, image.clone()).unwrap();
    assert_eq!(found.manifest_digest, Digest::of(&image.manifest));
    for bytes in [&image.manifest, &image.config, &image.indexes[0]] {
        assert_eq!(cache.read_document(&Digest::of(bytes)).unwrap(), *bytes);
    }
    let noted = Served {
        index: Some(Digest::of(&image.indexes[0])),
    };
    assert_eq!(found.provenance.served, Some(noted));
    let index = cache.served_index(&[found]).unwrap();
    assert_eq!(index, Some((image.indexes[0].clone(), INDEX.to_owned())));
}

#[test]
fn an_index_means_the_images_that_it_lists_and_a_layer_means_none() {
    let (_dir, cache) = cache();
    let layer = fixture::commit(&cache, b"layer");
    let mut image = served(
        "registry.example/app:1",
        std::slice::from_ref(&layer),
        &host(),
    );
    let own = index(&[&image.manifest]);
    image.indexes = vec![own.clone()];
    publish(&cache, image.clone()).unwrap();
    let by = |digest: Digest| find(&cache, &format!("registry.example/app@{digest}"));
    assert!(by(Digest::of(&image.manifest)).is_some());
    assert!(by(Digest::of(&own)).is_some());
    assert!(by(layer.digest).is_none());
    // A note that an image came from an index does not count where the index says otherwise.
    let foreign = index(&[b"another"]);
    image.reference = "registry.example/other:1".parse().unwrap();
    image.indexes = vec![foreign.clone()];
    publish(&cache, image).unwrap();
    let digest = Digest::of(&foreign);
    assert!(find(&cache, &format!("registry.example/other@{digest}")).is_none());
}

#[test]
fn documents_that_do_not_fit_together_are_refused() {
    let (_dir, cache) = cache();
    let layer = fixture::commit(&cache, b"layer");
    let good = served(
        "registry.example/app:1",
        std::slice::from_ref(&layer),
        &host(),
    );
    let edited = |edit: &dyn Fn(&mut ServedImage)| {
        let mut image = good.clone();
        edit(&mut image);
        publish(&cache, image).unwrap_err().to_string()
    };
    let no_layers = documents(&[], &host());
    for (error, why) in [
        (
            edited(&|i| i.config.push(b' ')),
            "its config is not sha256:",
        ),
        (
            edited(&|i| i.media_type = INDEX.to_owned()),
            "its mediaType is",
        ),
        (edited(&|i| i.manifest = b"{}".to_vec()), "missing field"),
        (
            edited(&|i| {
                let (manifest, _) = documents(std::slice::from_ref(&layer), &host());
                let config = Digest::of(&i.config).to_string();
                let other = Digest::of(&no_layers.1).to_string();
                let (size, length) = (i.config.len().to_string(), no_layers.1.len().to_string());
                let text = String::from_utf8(manifest).unwrap();
                let text = text.replace(&config, &other).replace(&size, &length);
                (i.manifest, i.config) = (text.into_bytes(), no_layers.1.clone());
            }),
            "it names 0 layers, the manifest 1",
        ),
    ] {
        assert!(error.contains(why), "{why}: {error}");
    }
    let mut absent = layer;
    absent.digest = Digest::of(b"absent");
    let image = served("registry.example/app:1", &[absent], &host());
    let error = publish(&cache, image).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
    assert!(cache.images().unwrap().is_empty());
}

#[test]
fn a_tag_means_one_image_for_processors_of_one_kind() {
    let (_dir, cache) = cache();
    let layer = fixture::commit(&cache, b"layer");
    let reference = "registry.example/app:1";
    let image = |architecture: &str, variant: Option<&str>| {
        let mut image = served(reference, std::slice::from_ref(&layer), architecture);
        let platform = Platform::new("linux", architecture, variant);
        image.described = Some(platform);
        image
    };
    let platforms = || -> Vec<String> {
        let images = cache.find_all(&reference.parse::<Reference>().unwrap());
        let images = images.unwrap();
        images.iter().map(|i| i.platform.to_string()).collect()
    };
    let mut v5 = image("arm", Some("v5"));
    (v5.manifest, v5.config) = documents(&[], "arm");
    publish(&cache, v5).unwrap();
    publish(&cache, image("s390x", None)).unwrap();
    assert_eq!(platforms(), ["linux/arm/v5", "linux/s390x"]);
    // Two images of one index stay beside each other.
    let (mut v6, mut v7) = (image("arm", Some("v6")), image("arm", Some("v7")));
    (v7.manifest, v7.config) = documents(&[layer.clone(), layer.clone()], "arm");
    let both = index(&[&v6.manifest, &v7.manifest]);
    (v6.indexes, v7.indexes) = (vec![both.clone()], vec![both]);
    publish(&cache, v6).unwrap();
    assert_eq!(platforms(), ["linux/arm/v6", "linux/s390x"]);
    publish(&cache, v7).unwrap();
    assert_eq!(platforms(), ["linux/arm/v6", "linux/arm/v7", "linux/s390x"]);
}
