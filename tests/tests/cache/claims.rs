//! Claims of an archive about a publisher's tarball: its command, and the layer tree that belongs to it.

use box_tests::Home;
use serde_json::{Value, json};
use sha2::Digest as _;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn sha256(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

/// An OCI archive of one image, whose config gives its only layer this `diff_id`.
fn archive(name: &str, layer: &[u8], suffix: &str, diff_id: &str, command: &[&str]) -> Vec<u8> {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
    let config = config.to_string().into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| -> Value {
        json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()})
    };
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config),
        "layers": [descriptor(&format!("{LAYER}{suffix}"), layer)]});
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor(MANIFEST, &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    for blob in [config.as_slice(), &manifest, layer] {
        let name = sha256(blob).replace(':', "/");
        files.push((format!("blobs/{name}"), blob.to_vec()));
    }
    tar(&files)
}

/// The release's tarball, compressed and uncompressed.
fn release() -> (Vec<u8>, Vec<u8>) {
    let packed = std::fs::read(box_tests::Mirror::get().tarball("3.20.3")).unwrap();
    let mut command = std::process::Command::new("gzip");
    command.args(["-dc"]);
    let plain = box_tests::Outcome::of(command, &packed).succeeds().stdout;
    (packed, plain)
}

#[test]
fn a_tarballs_digest_finds_no_image_that_only_has_it_as_its_layer() {
    let home = Home::new();
    let (packed, plain) = release();
    let tarball = sha256(&packed);
    let pinned = format!("alpine:3.20@{tarball}");
    for name in ["alpine:3.20", pinned.as_str()] {
        let evil = archive(name, &packed, "+gzip", &sha256(&plain), &["echo", "forged"]);
        home.run_with_stdin(["load", "-q"], &evil).succeeds();
    }
    home.run(["run", "--rm", "--offline", &pinned])
        .fails(&["not in the cache"]);
    let ran = home.run(["run", "--rm", &pinned, "cat", "/etc/alpine-release"]);
    assert_eq!(ran.succeeds().text(), "3.20.3");
    assert_eq!(home.run(["run", "--rm", &pinned]).succeeds().text(), "");
}

#[test]
fn a_pull_does_not_take_a_loaded_image_of_the_same_tarball_for_the_release() {
    let home = Home::new();
    let (packed, plain) = release();
    let evil = archive(
        "alpine:3.20",
        &packed,
        "+gzip",
        &sha256(&plain),
        &["echo", "forged"],
    );
    home.run_with_stdin(["load", "-q"], &evil).succeeds();
    let ran = home.run(["run", "--rm", "alpine:3.20"]).succeeds();
    assert_eq!(ran.text(), "forged", "what is in the cache is run");
    home.run(["pull", "alpine:3.20"]).succeeds();
    let image = &home.run(["images", "--format", "json"]).succeeds().json()[0];
    assert_ne!(image["verified"]["by"], "unverified", "{image}");
    let ran = home.run(["run", "--rm", "alpine:3.20"]).succeeds();
    assert_eq!(ran.text(), "");
}

/// The image gets neither the tree of the release nor that of another image, even if the layer itself is already cached.
#[test]
fn a_loaded_image_does_not_say_which_tree_is_its_layers() {
    let home = Home::new();
    let (packed, _) = release();
    let other = tar(&[("forged".to_owned(), b"forged".to_vec())]);
    let id = sha256(&other);
    let own = archive("own:1", &other, "", &id, &["/forged"]);
    home.run_with_stdin(["load", "-q"], &own).succeeds();
    // Its tree is there from now on, whatever comes of the command.
    home.run(["run", "--rm", "own:1"]);
    let claim = archive("claim:1", &packed, "+gzip", &id, &["/bin/sh"]);
    home.run_with_stdin(["load", "-q"], &claim)
        .fails(&["the content of blobs/sha256/", &id]);
    assert!(!home.run(["images"]).succeeds().text().contains("claim"));
    home.run(["pull", "alpine:3.20"]).succeeds();
    let ran = home.run(["run", "--rm", "alpine:3.20", "cat", "/etc/alpine-release"]);
    assert_eq!(ran.succeeds().text(), "3.20.3");
    home.run_with_stdin(["load", "-q"], &claim)
        .fails(&["the content of blobs/sha256/", &id]);
}
