//! Further names of images, and images named by their ids.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use box_cache::{Cache, Image, Platform, Reference};
use fixture::{commit, find, publish};

fn cache(scratch: &tempfile::TempDir) -> Cache {
    Cache::open(scratch.path().join("cache")).unwrap()
}

fn add(cache: &Cache, name: &str, platform: Platform, bytes: &[u8]) -> Image {
    let layer = commit(cache, bytes);
    publish(cache, name, platform, layer, "https://mirror.example/x")
}

fn other() -> Platform {
    let foreign = ["arm64", "amd64"].map(|name| Platform::new("linux", name, None));
    let host = Platform::host();
    foreign
        .into_iter()
        .find(|p| host.accepts(p).is_none())
        .unwrap()
}

fn tag(cache: &Cache, image: &str, name: &str) {
    let images = cache.find_all(&image.parse().unwrap()).unwrap();
    let name: Reference = name.parse().unwrap();
    cache.tag(&cache.hold().unwrap(), &images, &name).unwrap();
}

#[test]
fn a_tag_is_the_same_image_on_every_platform_with_its_origin() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = cache(&scratch);
    let here = add(&cache, "app:1", Platform::host(), b"here");
    let there = add(&cache, "app:1", other(), b"there");
    tag(&cache, "app:1", "registry.example/team/app:good");
    let name: Reference = "registry.example/team/app:good".parse().unwrap();
    for image in [here, there] {
        let tagged = cache.find_exactly(&name, &image.platform).unwrap().unwrap();
        assert_eq!(tagged.manifest_digest, image.manifest_digest);
        assert_eq!(tagged.provenance, image.provenance);
    }
    // The first name goes, the second stays.
    cache.remove(&"app:1".parse().unwrap(), None).unwrap();
    assert!(find(&cache, "app:1").is_none());
    assert_eq!(cache.find_all(&name).unwrap().len(), 2);
}

#[test]
fn a_name_that_moves_leaves_no_platform_behind_and_keeps_what_was_pinned() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = cache(&scratch);
    let old = add(&cache, "app:latest", Platform::host(), b"old");
    add(&cache, "app:latest", other(), b"old elsewhere");
    let new = add(&cache, "app:2", Platform::host(), b"new");
    tag(&cache, "app:2", "app:latest");
    let name = "app:latest".parse().unwrap();
    assert_eq!(cache.platforms(&name).unwrap(), [Platform::host()]);
    assert_eq!(
        find(&cache, "app").unwrap().manifest_digest,
        new.manifest_digest
    );
    let pinned = format!("app@{}", old.manifest_digest);
    assert_eq!(find(&cache, &pinned).unwrap().layers, old.layers);
    // A tag onto itself changes nothing.
    tag(&cache, "app:latest", "app:latest");
    assert_eq!(
        find(&cache, "app").unwrap().manifest_digest,
        new.manifest_digest
    );
}

#[test]
fn a_kept_image_becomes_a_named_one_that_no_collection_drops() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = cache(&scratch);
    let old = add(&cache, "app:latest", Platform::host(), b"old");
    add(&cache, "app:latest", Platform::host(), b"new");
    tag(
        &cache,
        &format!("app@{}", old.manifest_digest),
        "app:before",
    );
    let index = std::fs::read_to_string(cache.layout().index()).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let named = |entry: &&serde_json::Value| {
        entry["annotations"]["org.opencontainers.image.ref.name"] == "app:before"
    };
    let entry = entries.iter().find(named).unwrap();
    assert_eq!(
        entry["annotations"]["box.replaced"],
        serde_json::Value::Null
    );
}

#[test]
fn a_new_name_has_no_digest() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = cache(&scratch);
    let image = add(&cache, "app:1", Platform::host(), b"layer");
    let name = format!("app:2@{}", image.manifest_digest).parse().unwrap();
    let hold = cache.hold().unwrap();
    assert!(cache.tag(&hold, &[image], &name).is_err());
}

#[test]
fn ids_are_beginnings_of_the_digests_of_manifest_and_config() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = cache(&scratch);
    let image = add(&cache, "app:1", Platform::host(), b"layer");
    tag(&cache, "app:1", "app:2");
    add(&cache, "other", other(), b"another layer");
    for digest in [image.manifest_digest, image.config_digest] {
        for id in [&digest.hex()[..12], &digest.hex(), &digest.to_string()] {
            let found = cache.find_by_id(id).unwrap();
            let names: Vec<String> = found.iter().map(|i| i.reference.to_string()).collect();
            assert_eq!(names, ["app:1", "app:2"], "{id}");
        }
    }
    let hex = image.manifest_digest.hex();
    let layer = image.layers[0].digest.hex();
    for id in ["", "sha256:", &hex[..3], &hex.to_uppercase(), &layer, "app"] {
        assert!(cache.find_by_id(id).unwrap().is_empty(), "{id}");
    }
}
