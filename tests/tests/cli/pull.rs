//! `box pull`.

use std::fs;

use box_tests::server::Server;
use box_tests::{Home, Mirror};
use sha2::{Digest, Sha256};

fn sha256(path: &std::path::Path) -> String {
    let bytes = fs::read(path).unwrap();
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn a_branch_over_http_becomes_an_image() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    let outcome = home.run(["pull", "alpine:3.20"]).succeeds();
    assert!(outcome.text().contains("alpine:3.20"), "{}", outcome.text());
    assert!(outcome.text().contains("3.20.3"), "{}", outcome.text());
    let arch = std::env::consts::ARCH;
    let paths = server.paths();
    assert!(
        paths.contains(&format!("/v3.20/releases/{arch}/latest-releases.yaml")),
        "{paths:?}"
    );
    let tarball = format!("/v3.20/releases/{arch}/alpine-minirootfs-3.20.3-{arch}.tar.gz");
    assert!(paths.contains(&tarball), "{paths:?}");
    // The tarball byte for byte as the image's only layer.
    let digest = sha256(&Mirror::get().tarball("3.20.3"));
    let inspected = home.run(["inspect", "alpine:3.20"]).succeeds().json();
    assert_eq!(
        inspected[0]["layers"][0]["digest"],
        format!("sha256:{digest}")
    );
    let blob = home.cache().join("blobs/sha256").join(&digest);
    assert_eq!(
        fs::read(blob).unwrap(),
        fs::read(Mirror::get().tarball("3.20.3")).unwrap()
    );
}

#[test]
fn a_second_pull_downloads_no_tarball_and_says_so() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    home.run(["pull", "alpine:3.20"]).succeeds();
    let before = server.paths().len();
    let outcome = home.run(["pull", "alpine:3.20"]).succeeds();
    let later = server.paths().split_off(before);
    assert!(
        // And whether the publisher has signed it by now.
        later
            .iter()
            .all(|path| path.ends_with("latest-releases.yaml") || path.ends_with(".asc")),
        "{later:?}"
    );
    assert!(outcome.text().contains("unchanged"), "{}", outcome.text());
}

#[test]
fn the_manifest_is_the_same_on_every_machine() {
    let digest = |home: &Home| {
        home.run(["pull", "-q", "alpine:3.20"])
            .succeeds()
            .text()
            .to_owned()
    };
    let server = Server::mirror();
    let (one, other) = (Home::new(), Home::with_mirror(&server.url()));
    let (one, other) = (digest(&one), digest(&other));
    assert!(one.starts_with("sha256:") && one.len() == 71, "{one}");
    assert_eq!(one, other);
}

#[test]
fn latest_is_the_stable_branch() {
    let home = Home::new();
    let digest = home.run(["pull", "-q", "alpine"]).succeeds();
    let same = home.run(["pull", "-q", "alpine:latest"]).succeeds();
    assert_eq!(digest.text(), same.text());
    let release = home
        .run(["run", "--rm", "alpine", "cat", "/etc/alpine-release"])
        .succeeds();
    assert_eq!(release.text(), "3.20.3");
}

#[test]
fn an_exact_release_needs_no_list() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    home.run(["pull", "alpine:3.18.9"]).succeeds();
    let release = home
        .run(["run", "--rm", "alpine:3.18.9", "cat", "/etc/alpine-release"])
        .succeeds();
    assert_eq!(release.text(), "3.18.9");
}

#[test]
fn a_digest_is_of_the_manifest_or_of_the_tarball() {
    let home = Home::new();
    let manifest = home
        .run(["pull", "-q", "alpine:3.20"])
        .succeeds()
        .text()
        .to_owned();
    let tarball = format!("sha256:{}", sha256(&Mirror::get().tarball("3.20.3")));
    for digest in [&manifest, &tarball] {
        let fresh = Home::new();
        for reference in [format!("alpine:3.20@{digest}"), format!("alpine@{digest}")] {
            let pulled = fresh.run(["pull", "-q", &reference]).succeeds();
            assert_eq!(pulled.text(), manifest, "{reference}");
            home.run(["run", "--rm", "--offline", &reference, "true"])
                .succeeds();
        }
    }
    let wrong = format!("alpine:3.20@sha256:{}", "1".repeat(64));
    home.run(["pull", &wrong]).fails(&["1111"]);
}

#[test]
fn another_architecture_lives_beside_this_one() {
    let home = Home::new();
    let other = if std::env::consts::ARCH == "aarch64" {
        "x86_64"
    } else {
        "aarch64"
    };
    let mine = home
        .run(["pull", "-q", "alpine:3.20"])
        .succeeds()
        .text()
        .to_owned();
    let foreign = home
        .run(["pull", "-q", "--arch", other, "alpine:3.20"])
        .succeeds()
        .text()
        .to_owned();
    assert_ne!(mine, foreign);
    let images = home.run(["images", "--format", "json"]).succeeds().json();
    assert_eq!(images.as_array().unwrap().len(), 2, "{images}");
    home.run(["run", "--rm", "--offline", "alpine:3.20", "true"])
        .succeeds();
}

#[test]
fn mirrors_are_given_by_flag_variable_and_file() {
    let url = Mirror::get().url();
    let home = Home::with_mirror("http://127.0.0.1:9/nothing");
    home.run(["pull", "-q", "--mirror", &url, "alpine:3.20"])
        .succeeds();
    // Nobody answers at the first one.
    let list = format!("http://127.0.0.1:9,{url}");
    let mut command = home.command(["pull", "-q", "alpine:3.18"]);
    command.env("BOX_MIRROR", list);
    box_tests::Outcome::of(command, b"").succeeds();
    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(
        home.path().join("config/config.toml"),
        format!("[pull]\nmirrors = ['{url}']\n"),
    )
    .unwrap();
    let mut command = home.command(["pull", "-q", "alpine"]);
    command.env_remove("BOX_MIRROR");
    box_tests::Outcome::of(command, b"").succeeds();
}

#[test]
fn results_go_to_stdout_and_progress_to_stderr() {
    let home = Home::new();
    let outcome = home.run(["pull", "alpine:3.20"]).succeeds();
    assert_eq!(outcome.text().lines().count(), 1, "{}", outcome.text());
    assert!(outcome.stderr.contains("alpine"), "{}", outcome.stderr);
    let quiet = home.run(["pull", "-q", "alpine:3.18"]).succeeds();
    assert_eq!(quiet.stderr, "");
    let silent = home
        .run([
            "pull",
            "--progress",
            "none",
            "--format",
            "json",
            "alpine:3.20",
        ])
        .succeeds();
    let json = silent.json();
    assert_eq!(json["reference"], "alpine:3.20");
    assert_eq!(json["version"], "3.20.3");
    assert_eq!(json["changed"], false);
}
