//! Other tools read the cache as it is.

use std::path::Path;
use std::process::Command;

use box_tests::{Home, Outcome};

fn run(program: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    Outcome::of(command, b"")
}

fn pulled() -> (Home, String) {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let cache = home.cache().to_str().unwrap().to_owned();
    (home, cache)
}

#[test]
fn skopeo_inspects_it() {
    let (home, cache) = pulled();
    let seen = run("skopeo", &["inspect", &format!("oci:{cache}:alpine:3.20")])
        .succeeds()
        .json();
    let digest = home.run(["images", "-q"]).succeeds();
    assert_eq!(seen["Digest"], digest.text());
    assert_eq!(seen["Os"], "linux");
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
    let config = run(
        "skopeo",
        &["inspect", "--config", &format!("oci:{cache}:alpine:3.20")],
    )
    .succeeds()
    .json();
    assert_eq!(config["config"]["Cmd"][0], "/bin/sh");
}

#[test]
fn skopeo_copies_it_and_keeps_the_digest() {
    let (home, cache) = pulled();
    let copy = home.path().join("copy");
    let copy = copy.to_str().unwrap();
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            &format!("oci:{cache}:alpine:3.20"),
            &format!("oci:{copy}:x"),
        ],
    )
    .succeeds();
    let seen = run("skopeo", &["inspect", &format!("oci:{copy}:x")])
        .succeeds()
        .json();
    assert_eq!(seen["Digest"], home.run(["images", "-q"]).succeeds().text());
}

#[test]
fn umoci_unpacks_it_to_the_same_tree() {
    let (home, cache) = pulled();
    let bundle = home.path().join("bundle");
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{cache}:alpine:3.20"),
            bundle.to_str().unwrap(),
        ],
    )
    .succeeds();
    let ours = home.path().join("ours");
    home.run(["unpack", "alpine:3.20", ours.to_str().unwrap()])
        .succeeds();
    assert_eq!(listing(&bundle.join("rootfs")), listing(&ours));
}

/// Type, mode, owner, size, link target and path of everything below a directory.
fn listing(dir: &Path) -> Vec<String> {
    let format = "%y %m %U:%G %s %l %P\n";
    let mut command = Command::new("find");
    command.arg(dir).args([
        "-mindepth",
        "1",
        "(",
        "-type",
        "d",
        "-printf",
        "d %m %U:%G %P\n",
        ")",
        "-o",
        "-printf",
        format,
    ]);
    let mut lines: Vec<String> = Outcome::of(command, b"")
        .succeeds()
        .text()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn an_instance_is_a_bundle_that_runc_knows() {
    let home = Home::with_alpine();
    home.run(["run", "--name", "bundle", "alpine", "true"])
        .succeeds();
    let inspected = home.run(["inspect", "bundle"]).succeeds().json();
    let bundle = inspected[0]["bundle"].as_str().unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(Path::new(bundle).join("config.json")).unwrap())
            .unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["true"]));
    home.run(["rm", "bundle"]).succeeds();
}
