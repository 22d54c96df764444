#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// An entry whose digest is that of `name`, for `os/architecture/variant`.
fn entry(kind: &str, name: &str, platform: Option<&str>) -> Value {
    let mut entry = json!({"mediaType": kind, "digest": digest(name), "size": 7});
    if let Some(platform) = platform {
        let parts: Vec<&str> = platform.split('/').collect();
        entry["platform"] = json!({"os": parts[0], "architecture": parts[1]});
        if let Some(variant) = parts.get(2) {
            entry["platform"]["variant"] = json!(variant);
        }
    }
    entry
}

fn index(entries: &[Value]) -> (ImageIndex, Vec<u8>) {
    let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    let bytes = document.to_string().into_bytes();
    (serde_json::from_slice(&bytes).unwrap(), bytes)
}

/// The candidates of an index without nested ones.
fn candidates(entries: &[Value]) -> Candidates {
    let (index, bytes) = index(entries);
    let never = &mut |digest: &Digest| panic!("{digest} is not nested");
    Candidates::of(index, bytes, never).unwrap()
}

fn chosen(entries: &[Value], wanted: &str) -> Option<Digest> {
    let (chosen, _) = candidates(entries).choose(&wanted.parse().unwrap());
    chosen.map(|chosen| chosen.digest)
}

#[test]
fn the_best_variant_at_or_below_the_machine_is_chosen() {
    let entries = [
        entry(OCI, "v6", Some("linux/arm/v6")),
        entry(OCI, "v5", Some("linux/arm/v5")),
        entry(MANIFEST, "v7", Some("linux/arm/v7")),
        entry(OCI, "64", Some("linux/arm64/v8")),
        entry(OCI, "windows", Some("windows/amd64")),
        entry(OCI, "amd64-v3", Some("linux/amd64/v3")),
        entry(OCI, "amd64", Some("linux/amd64")),
    ];
    for (wanted, name) in [
        ("arm/v7", Some("v7")),
        ("arm/v6", Some("v6")),
        ("arm64", Some("64")),
        ("amd64/v2", Some("amd64")),
        ("amd64/v4", Some("amd64-v3")),
        ("riscv64", None),
    ] {
        assert_eq!(chosen(&entries, wanted), name.map(digest), "{wanted}");
    }
    // A 32-bit image runs on a 64-bit machine, if there is nothing better.
    assert_eq!(chosen(&entries[..3], "arm64"), Some(digest("v7")));
}

#[test]
fn attestations_and_unknown_platforms_are_counted_and_never_chosen() {
    let mut attestation = entry(OCI, "proof", Some("linux/amd64"));
    attestation["annotations"] = json!({ATTESTATION: "attestation-manifest"});
    let entries = [
        attestation,
        entry(OCI, "unknown", Some("unknown/unknown")),
        entry("application/vnd.example+json", "other", Some("linux/amd64")),
    ];
    assert_eq!(chosen(&entries, "amd64"), None);
    assert_eq!(
        candidates(&entries).left_out().unwrap(),
        "leaving out 1 attestation and 2 entries for unknown platforms"
    );
    let image = entry(OCI, "image", Some("linux/amd64"));
    assert_eq!(candidates(&[image]).left_out(), None);
}

#[test]
fn images_without_a_platform_are_left_to_be_looked_at() {
    let entries = [
        entry(OCI, "bare", None),
        entry(OCI, "arm", Some("linux/arm64")),
    ];
    let (chosen, unknown) = candidates(&entries).choose(&"amd64".parse().unwrap());
    assert!(chosen.is_none());
    let unknown: Vec<Digest> = unknown.iter().map(|one| one.digest).collect();
    assert_eq!(unknown, [digest("bare")]);
}

#[test]
fn nested_indexes_are_followed_and_kept_but_not_for_ever() {
    let (inner, inner_bytes) = index(&[entry(OCI, "image", Some("linux/amd64"))]);
    let (outer, outer_bytes) = index(&[entry(INDEX, "inner", None)]);
    let found = Candidates::of(outer.clone(), outer_bytes.clone(), &mut |wanted| {
        assert_eq!(*wanted, digest("inner"));
        Ok((inner.clone(), inner_bytes.clone()))
    });
    let (chosen, _) = found.unwrap().choose(&"amd64".parse().unwrap());
    let chosen = chosen.unwrap();
    assert_eq!(chosen.digest, digest("image"));
    let expected = [outer_bytes.clone(), inner_bytes.clone()];
    assert_eq!(chosen.indexes, expected.map(Arc::new));

    // An index that names itself.
    let mut fetched = 0;
    let found = Candidates::of(outer.clone(), outer_bytes.clone(), &mut |_| {
        fetched += 1;
        Ok((outer.clone(), outer_bytes.clone()))
    });
    assert!(found.unwrap().images.is_empty());
    assert!(fetched <= MAX_DEPTH, "{fetched}");

    // An index of many indexes.
    let many: Vec<Value> = (0..100)
        .map(|n| entry(INDEX, &n.to_string(), None))
        .collect();
    let (many, many_bytes) = index(&many);
    let mut fetched = 0;
    let found = Candidates::of(many, many_bytes, &mut |_| {
        fetched += 1;
        Ok((inner.clone(), Vec::new()))
    });
    assert_eq!(found.unwrap().images.len(), MAX_NESTED);
    assert_eq!(fetched, MAX_NESTED);
}

/// An index of 8 MiB with a thousand images would fill the memory otherwise.
#[test]
fn all_images_of_an_index_share_its_bytes() {
    let entries: Vec<Value> = (0..3)
        .map(|n| entry(OCI, &n.to_string(), Some("linux/amd64")))
        .collect();
    let images = candidates(&entries).images;
    assert_eq!(images.len(), 3);
    for image in &images[1..] {
        assert!(Arc::ptr_eq(&image.indexes[0], &images[0].indexes[0]));
    }
}
