//! `box verify`: damage is found, set aside, and repaired by the next pull.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use box_tests::Home;

use crate::check;

/// The largest blob: the layer.
fn layer(home: &Home) -> PathBuf {
    let blobs = fs::read_dir(home.cache().join("blobs/sha256")).unwrap();
    blobs
        .map(|blob| blob.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

fn flip_a_byte(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_reported_quarantined_and_repaired() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["verify"]).succeeds();
    let layer = layer(&home);
    flip_a_byte(&layer);

    let report = home.run(["verify", "--format", "json", "alpine:3.20"]);
    let report = report
        .fails_with(1, &["1 of 3 blobs"])
        .hints(&["box pull alpine:3.20"])
        .json();
    let damaged = &report["damaged"][0];
    assert!(
        damaged["reason"]
            .as_str()
            .unwrap()
            .contains("digest mismatch"),
        "{report}"
    );
    assert!(
        damaged["images"][0]
            .as_str()
            .unwrap()
            .starts_with("alpine:3.20"),
        "{report}"
    );
    assert!(fs::exists(damaged["quarantined"].as_str().unwrap()).unwrap());
    assert!(!layer.exists());
    home.run(["verify"]).fails_with(1, &["1 of 3 blobs"]);

    // The layer's tree is whole: what is cached works on.
    home.run(["run", "--rm", "--offline", "alpine:3.20", "true"])
        .succeeds();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["verify", "alpine:3.20"]).succeeds();
    check::sound(&home.cache());
    home.run(["gc"]).succeeds();
    assert!(check::names(&home.cache().join("quarantine")).is_empty());
}

#[test]
fn damaged_documents_are_repaired_too() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let layer = layer(&home);
    for name in check::names(&home.cache().join("blobs/sha256")) {
        let path = home.cache().join("blobs/sha256").join(&name);
        if path == layer {
            continue;
        }
        flip_a_byte(&path);
        home.run(["verify"]).fails_with(1, &["damaged"]);
        home.run(["run", "--rm", "--offline", "alpine:3.20", "true"])
            .fails(&["alpine:3.20"]);
        home.run(["pull", "-q", "alpine:3.20"]).succeeds();
        home.run(["verify"]).succeeds();
        home.run(["run", "--rm", "alpine:3.20", "true"]).succeeds();
    }
}

#[test]
fn an_unknown_image_cannot_be_verified() {
    let home = Home::new();
    home.run(["verify", "alpine:3.20"])
        .fails(&["alpine:3.20", "not in the cache"]);
}
