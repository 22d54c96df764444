//! The lock file, and outdated images.

use std::fs;

use box_tests::server::Server;
use box_tests::{Home, Mirror};

use crate::release::{is_whole, list, list_text};

/// A mirror whose branch 3.20 still has a release of 3.18, so that its tag can move on.
fn older() -> Server {
    let text = fs::read_to_string(
        Mirror::get()
            .releases("3.18.9")
            .join("latest-releases.yaml"),
    );
    let text = text.unwrap().replace("branch: v3.18", "branch: v3.20");
    let old = format!(
        "/v3.20/releases/{}/alpine-minirootfs-3.18.9",
        std::env::consts::ARCH
    );
    Server::scripted(move |request, _| {
        use box_tests::server::{Body, Response};
        if request.path == list() {
            return Some(Response::new(text.clone()));
        }
        let tarball = Mirror::get().tarball("3.18.9");
        let length = tarball.metadata().unwrap().len();
        let wanted = request.path.starts_with(&old) && request.path.ends_with(".gz");
        wanted.then(|| {
            Response::with(
                200,
                Body::File {
                    path: tarball,
                    start: 0,
                    length,
                },
            )
        })
    })
}

#[test]
fn a_locked_image_is_the_same_from_any_mirror_whatever_is_newest_there() {
    let mut home = Home::with_mirror(&older().url());
    let before = older();
    home.set_mirror(&before.url());
    home.run(["lock", "alpine:3.20"]).succeeds();
    let lock = fs::read_to_string(home.path().join("box.lock")).unwrap();
    assert!(lock.contains("version = \"3.18.9\""), "{lock}");

    let mut other = Home::with_mirror(&before.url());
    fs::write(other.path().join("box.lock"), &lock).unwrap();
    // The list has moved on meanwhile: it is not even requested.
    let moved = older();
    other.set_mirror(&moved.url());
    other.run(["pull", "alpine:3.20", "--locked"]).succeeds();
    assert!(!moved.paths().contains(&list()), "{:?}", moved.paths());
    let digest = |home: &Home| home.run(["images", "-q"]).succeeds().text().to_owned();
    assert_eq!(digest(&home), digest(&other));
    assert!(lock.contains(&digest(&other)), "{lock}");
    let release = other.run(["run", "--rm", "alpine:3.20", "cat", "/etc/alpine-release"]);
    assert_eq!(release.succeeds().text(), "3.18.9");
}

#[test]
fn the_lock_file_is_sorted_and_stable() {
    let home = Home::new();
    home.run([
        "lock",
        "alpine:3.20",
        "alpine:3.18",
        "--arch",
        "amd64",
        "--arch",
        "arm64",
    ])
    .succeeds();
    let first = fs::read_to_string(home.path().join("box.lock")).unwrap();
    let names: Vec<&str> = first
        .lines()
        .filter(|l| l.starts_with("reference") || l.starts_with("arch"))
        .collect();
    let expected = [
        ("3.18", "amd64"),
        ("3.18", "arm64"),
        ("3.20", "amd64"),
        ("3.20", "arm64"),
    ];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|(tag, arch)| {
            [
                format!("reference = \"alpine:{tag}\""),
                format!("arch = \"{arch}\""),
            ]
        })
        .collect();
    assert_eq!(names, expected);
    home.run(["lock"]).succeeds();
    assert_eq!(
        fs::read_to_string(home.path().join("box.lock")).unwrap(),
        first
    );
}

#[test]
fn what_is_not_locked_is_refused_on_demand() {
    let home = Home::new();
    home.run(["lock", "alpine:3.20"]).succeeds();
    home.run(["pull", "alpine:3.18", "--locked"])
        .fails(&["alpine:3.18", "box.lock"]);
    home.run(["run", "--rm", "--locked", "alpine:3.18", "true"])
        .fails(&["alpine:3.18", "box.lock"]);
    home.run(["pull", "alpine:3.18"]).succeeds();
    home.run(["pull", "alpine:3.18", "--lock", "other.lock"])
        .fails(&["other.lock"]);
    fs::write(home.path().join("box.lock"), "version = 7").unwrap();
    home.run(["pull", "alpine:3.20"])
        .fails(&["cannot read the lock file", "version 7"]);
}

#[test]
fn a_lock_that_lies_is_found_out() {
    let home = Home::new();
    home.run(["lock", "alpine:3.20"]).succeeds();
    let path = home.path().join("box.lock");
    let lock = fs::read_to_string(&path).unwrap();
    home.run(["rmi", "alpine:3.20"]).succeeds();
    let manifest = lock
        .lines()
        .find_map(|l| l.strip_prefix("manifest = "))
        .unwrap();
    let other = format!("\"sha256:{}\"", "0".repeat(64));
    fs::write(&path, lock.replace(manifest, &other)).unwrap();
    home.run(["pull", "alpine:3.20"]).fails(&[
        "cannot pull alpine:3.20: expected sha256:0000",
        "3.20.3 has the manifest sha256:",
    ]);
    fs::write(&path, &lock).unwrap();
    home.run(["pull", "alpine:3.20"]).succeeds();
    is_whole(&home);
}

#[test]
fn what_has_moved_on_is_said_with_a_status() {
    let before = older();
    let mut home = Home::with_mirror(&before.url());
    home.run(["lock", "alpine:3.20"]).succeeds();
    assert_eq!(home.run(["outdated"]).succeeds().text(), "");
    home.set_mirror(&Mirror::get().url());
    let rows = home.run(["outdated", "--format", "json"]).exits(1).json();
    let rows = rows.as_array().unwrap();
    let places: Vec<_> = rows
        .iter()
        .map(|row| row["place"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["cache", "lock"]);
    for row in rows {
        assert_eq!(
            (row["version"].as_str(), row["newest"].as_str()),
            (Some("3.18.9"), Some("3.20.3"))
        );
    }
    home.run(["lock"]).succeeds();
    home.run(["outdated"]).succeeds();
    assert!(list_text().contains("3.20.3"));
}

#[test]
fn a_digest_is_demanded_of_manifest_or_tarball() {
    let home = Home::new();
    let manifest = home
        .run(["pull", "-q", "alpine:3.20"])
        .succeeds()
        .text()
        .to_owned();
    let tarball = format!("sha256:{}", crate::release::hex(&crate::release::bytes()));
    for digest in [manifest, tarball] {
        for name in ["alpine:3.20", "alpine"] {
            let fresh = Home::new();
            fresh.run(["pull", &format!("{name}@{digest}")]).succeeds();
            home.run(["pull", "--offline", &format!("{name}@{digest}")])
                .succeeds();
        }
    }
    let wrong = format!("alpine:3.20@sha256:{}", "1".repeat(64));
    for home in [&home, &Home::new()] {
        home.run(["pull", &wrong])
            .fails(&["expected sha256:1111", "3.20.3 has the manifest sha256:"]);
    }
}

#[test]
fn an_image_that_is_pinned_stays_when_its_tag_moves_on() {
    let before = older();
    let mut home = Home::with_mirror(&before.url());
    home.run(["lock", "alpine:3.20"]).succeeds();
    let digest = home.run(["images", "-q"]).succeeds().text().to_owned();
    let project = home.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::rename(home.path().join("box.lock"), project.join("box.lock")).unwrap();
    let lock = project.join("box.lock");
    let lock = lock.to_str().unwrap();
    home.run(["pull", "alpine:3.20", "--lock", lock]).succeeds();

    home.set_mirror(&Mirror::get().url());
    home.run(["pull", "alpine:3.20"]).succeeds();
    is_whole(&home);
    let images = home.run(["images"]).succeeds();
    let pinned = format!("alpine:3.20@{digest}");
    assert!(images.text().contains(&pinned), "{}", images.text());
    // The collector looks at every lock file that was used with the cache, wherever it lies.
    home.run(["gc"]).succeeds();
    let version = |home: &Home, args: &[&str]| {
        let command = ["run", "--rm", "--offline"];
        let args = command
            .iter()
            .chain(args)
            .chain(&["cat", "/etc/alpine-release"]);
        home.run(args.collect::<Vec<_>>())
            .succeeds()
            .text()
            .to_owned()
    };
    assert_eq!(version(&home, &["--lock", lock, "alpine:3.20"]), "3.18.9");
    assert_eq!(version(&home, &[&format!("alpine@{digest}")]), "3.18.9");
    assert_eq!(version(&home, &["alpine:3.20"]), "3.20.3");

    fs::remove_file(lock).unwrap();
    let collected = home.run(["gc"]).succeeds();
    assert!(collected.text().contains(&pinned), "{}", collected.text());
    home.run(["images"]).succeeds();
    assert_eq!(
        home.run(["images", "-q"]).succeeds().text().lines().count(),
        1
    );
    is_whole(&home);
    home.run(["verify"]).succeeds();
}
