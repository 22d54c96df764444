//! Checks the invariants of a cache, without box.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Every published blob matches its name and is read-only, and every reference in the index resolves to blobs that
/// exist. Returns the references.
#[track_caller]
pub fn sound(cache: &Path) -> BTreeSet<String> {
    let blobs = cache.join("blobs/sha256");
    for blob in fs::read_dir(&blobs).into_iter().flatten() {
        let path = blob.unwrap().path();
        let Ok(bytes) = fs::read(&path) else { continue };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            hex(&bytes),
            name,
            "{} is not what its name says",
            path.display()
        );
        assert!(
            fs::metadata(&path).unwrap().permissions().readonly(),
            "{} is writable",
            path.display()
        );
    }
    let Ok(index) = fs::read(cache.join("index.json")) else {
        return BTreeSet::new();
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let read = |descriptor: &Value| {
        let digest = descriptor["digest"]
            .as_str()
            .unwrap()
            .strip_prefix("sha256:")
            .unwrap();
        let path = blobs.join(digest);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            bytes.len() as u64,
            descriptor["size"].as_u64().unwrap(),
            "{}",
            path.display()
        );
        bytes
    };
    let mut references = BTreeSet::new();
    for entry in index["manifests"].as_array().unwrap() {
        let manifest: Value = serde_json::from_slice(&read(entry)).unwrap();
        read(&manifest["config"]);
        manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|layer| drop(read(layer)));
        let name = entry["annotations"]["org.opencontainers.image.ref.name"]
            .as_str()
            .unwrap();
        references.insert(name.to_owned());
    }
    references
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The names in a directory, which may be missing.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
