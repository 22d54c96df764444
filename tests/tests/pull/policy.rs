//! The verification policy applies when an image is used, whatever its name and origin.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use box_tests::{Home, Mirror, Outcome};

use crate::release::{VERSION, bytes, hex};
use crate::trust::Signed;

/// A home with the signed release as `alpine:3.20`, and unsigned images: `evil:1` was committed and has a file `/evil`;
/// `alpine:9.99` was imported, and so was `known:1`, with its digest.
fn home() -> Signed {
    let signed = Signed::new(|publisher| Some(publisher.sign(&bytes())));
    signed.pull("require").succeeds();
    let home = &signed.home;
    home.run(["run", "--name", "c", "alpine:3.20", "touch", "/evil"])
        .succeeds();
    home.run(["commit", "c", "evil:1"]).succeeds();
    home.run(["rm", "c"]).succeeds();
    let file = Mirror::get().tarball(VERSION);
    let file = file.to_str().unwrap();
    home.run(["import", file, "alpine:9.99"]).succeeds();
    let sha256 = format!("--sha256={}", hex(&bytes()));
    home.run(["import", &sha256, file, "known:1"]).succeeds();
    signed
}

/// The image in docker's archive format, under another name.
fn docker_archive(home: &Home, image: &str, name: &str) -> String {
    let file = home
        .path()
        .join(format!("{}.tar", name.replace(['/', ':', '@'], "-")));
    let file = file.to_str().unwrap().to_owned();
    let from = format!("oci:{}:{image}", home.cache().display());
    let to = format!("docker-archive:{file}:{name}");
    let copied = Command::new("skopeo")
        .args(["copy", "-q", &from, &to])
        .status()
        .unwrap();
    assert!(copied.success());
    file
}

fn refused(outcome: Outcome) {
    outcome.fails(&["signature is required"]);
}

#[test]
fn what_nobody_signed_is_used_by_no_verb_where_a_signature_is_demanded() {
    let signed = home();
    let home = &signed.home;
    for image in ["evil:1", "known:1", "docker.io/library/evil:1"] {
        refused(home.run(["run", "--rm", "--verify", "require", image, "true"]));
        refused(home.run([
            "run", "-d", "--pull", "never", "--verify", "require", image, "true",
        ]));
        refused(home.run([
            "--offline",
            "run",
            "--rm",
            "--verify",
            "require",
            image,
            "true",
        ]));
        refused(home.run(["run", "--dry-run", "--verify", "require", image, "true"]));
        refused(home.run(["unpack", "--verify", "require", image, "out"]));
        refused(home.run(["save", "--verify", "require", image, "-o", "out.tar"]));
    }
    // Its publisher is asked, who has no such release.
    refused(home.run(["run", "--rm", "--verify", "require", "alpine:9.99", "true"]));
    home.run(["--offline", "pull", "--verify", "require", "alpine:9.99"])
        .fails(&["signature"]);
    assert!(!home.path().join("out").exists() && !home.path().join("out.tar").exists());
    home.run(["run", "--rm", "evil:1", "true"]).succeeds();

    // By the environment, and by the configuration.
    let mut command = home.command(["run", "--rm", "evil:1", "true"]);
    command.env("BOX_VERIFY", "require");
    refused(Outcome::of(command, b""));
    fs::write(
        home.path().join("config/config.toml"),
        "[pull]\nverify = 'require'\n",
    )
    .unwrap();
    refused(home.run(["run", "--rm", "evil:1", "true"]));
    refused(home.run(["save", "evil:1", "-o", "out.tar"]));
    home.run(["run", "--rm", "--verify", "prefer", "evil:1", "true"])
        .succeeds();
    for words in [
        &["run", "--rm", "alpine:3.20", "true"][..],
        &["save", "alpine:3.20", "-o", "good.tar"],
        &["unpack", "alpine:3.20", "good"],
    ] {
        home.run(words).succeeds();
    }
}

#[test]
fn a_release_whose_checksums_alone_were_checked_is_not_enough() {
    let signed = Signed::new(|_| None);
    signed.pull("prefer").succeeds();
    refused(signed.home.run([
        "--offline",
        "run",
        "--rm",
        "--verify",
        "require",
        "alpine:3.20",
        "true",
    ]));
}

#[test]
fn a_loaded_archive_does_not_pass_for_the_release_that_it_is_called() {
    let signed = home();
    let home = &signed.home;
    let seen = |words: &[&str]| {
        let outcome =
            home.run(
                words
                    .iter()
                    .chain(&["sh", "-c", "test -e /evil && echo evil || echo good"]),
            );
        outcome.succeeds().text().to_owned()
    };
    home.run(["run", "--rm", "alpine:3.20", "true"]).succeeds();
    // Docker's word for it: it gets a name of its own, and is what `alpine` means only to those who have no other.
    let file = docker_archive(home, "evil:1", "alpine:3.20");
    home.run(["load", "-i", &file]).succeeds();
    assert_eq!(seen(&["run", "--rm", "alpine:3.20"]), "good");
    assert_eq!(
        seen(&["run", "--rm", "docker.io/library/alpine:3.20"]),
        "evil"
    );
    refused(home.run([
        "run",
        "--rm",
        "--verify",
        "require",
        "docker.io/library/alpine:3.20",
        "true",
    ]));
    // The caller's word for it takes the name, and not the signature.
    home.run(["load", "-i", &file, "--name", "alpine:3.20"])
        .succeeds();
    assert_eq!(seen(&["run", "--rm", "alpine:3.20"]), "evil");
    refused(home.run([
        "--offline",
        "run",
        "--rm",
        "--verify",
        "require",
        "alpine:3.20",
        "true",
    ]));
    assert_eq!(
        seen(&["run", "--rm", "--verify", "require", "alpine:3.20"]),
        "good"
    );
    // And what the release's archive brings back is vouched for as before.
    let before = home
        .run(["images", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    home.run(["save", "alpine:3.20", "-o", "good.tar"])
        .succeeds();
    home.run(["load", "-i", "good.tar"]).succeeds();
    assert_eq!(
        home.run(["images", "alpine:3.20", "--format", "json"])
            .succeeds()
            .json(),
        before
    );
}

#[test]
fn a_digest_in_a_name_is_compared_with_content_and_a_lock_holds() {
    let signed = home();
    let home = &signed.home;
    home.run(["lock", "alpine:3.20"]).succeeds();
    let images = home
        .run(["images", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    let pinned = format!("alpine:3.20@{}", images[0]["digest"].as_str().unwrap());
    let file = docker_archive(home, "evil:1", "claims:1");
    home.run(["load", "-i", &file, "--name", &pinned])
        .fails(&["has the digest", &pinned]);
    let tarball = format!("alpine:3.20@sha256:{}", hex(&bytes()));
    home.run(["load", "-i", &file, "--name", &tarball])
        .fails(&["has the digest"]);
    for words in [
        &["run", "--rm", "--locked", "alpine:3.20"][..],
        &["run", "--rm", &pinned],
    ] {
        home.run(words.iter().chain(&["ls", "/evil"])).exits(1);
    }
}

#[test]
fn a_kept_container_starts_only_if_its_image_is_vouched_for() {
    let signed = home();
    let home = &signed.home;
    for (name, image) in [("good", "alpine:3.20"), ("bad", "evil:1")] {
        home.run(["run", "--name", name, image, "true"]).succeeds();
    }
    fs::write(
        home.path().join("config/config.toml"),
        "[pull]\nverify = 'require'\n",
    )
    .unwrap();
    for verb in [&["start"][..], &["start", "-a"], &["restart"]] {
        home.run(verb.iter().chain(&["good"])).succeeds();
        home.run(["wait", "good"]);
        refused(home.run(verb.iter().chain(&["bad"])));
        // These verbs have no --verify to point to.
        let failed = home.run(verb.iter().chain(&["bad"]));
        let hint = "BOX_VERIFY=prefer";
        assert!(failed.stderr.contains(hint), "{}", failed.stderr);
    }
    home.run(["rmi", "alpine:3.20"]).succeeds();
    home.run(["start", "good"])
        .fails(&["signature is required"]);
    home.run(["rm", "good", "bad"]).succeeds();
}

#[test]
fn nobody_elses_word_counts_and_no_key_that_is_trusted_no_more() {
    let signed = home();
    let home = &signed.home;
    let run = || {
        home.run([
            "--offline",
            "run",
            "--rm",
            "--verify",
            "require",
            "alpine:3.20",
            "true",
        ])
    };
    run().succeeds();
    for name in ["", "index.json"] {
        let path = home.cache().join(name);
        chown(&path, Some(1000), None).unwrap();
        run().fails(&["signature is required", "user 1000 can write to it"]);
        chown(&path, Some(0), None).unwrap();
    }
    run().succeeds();
    fs::remove_dir_all(home.path().join("config/trusted-keys")).unwrap();
    refused(run());
}
