//! Root filesystems from anywhere.

use std::fs;
use std::process::Command;

use box_tests::server::{Response, Server};
use box_tests::{Home, Mirror};

use crate::release::{VERSION, bytes, hex, is_empty};

fn packed(home: &Home, with: &str) -> String {
    let plain = home.path().join("rootfs.tar");
    let shell = |script: &str| {
        let done = Command::new("sh")
            .args(["-ec", script])
            .current_dir(home.path())
            .status()
            .unwrap();
        assert!(done.success(), "{script}");
    };
    shell(&format!(
        "gzip -dc {} > {}",
        Mirror::get().tarball(VERSION).display(),
        plain.display()
    ));
    match with {
        "tar" => "rootfs.tar".to_owned(),
        "gzip" => Mirror::get().tarball(VERSION).display().to_string(),
        tool => {
            shell(&format!("{tool} -c rootfs.tar > rootfs.{tool}"));
            format!("rootfs.{tool}")
        }
    }
}

#[track_caller]
fn runs(home: &Home, image: &str) {
    let release = home.run(["run", "--rm", image, "cat", "/etc/alpine-release"]);
    assert_eq!(release.succeeds().text(), VERSION);
}

#[test]
fn every_usual_packing_is_an_image() {
    let home = Home::new();
    for with in ["tar", "gzip", "xz", "bzip2", "zstd"] {
        let file = packed(&home, with);
        let image = format!("my/{with}:1");
        home.run(["import", &file, &image]).succeeds();
        runs(&home, &image);
        let layer = &home.run(["inspect", &image]).succeeds().json()[0]["layers"][0].clone();
        let digest = layer["digest"].as_str().unwrap().to_owned();
        let kept = match with {
            // No OCI layer may be packed like that: the plain archive is kept.
            "xz" | "bzip2" | "tar" => fs::read(home.path().join("rootfs.tar")).unwrap(),
            "gzip" => bytes(),
            _ => fs::read(home.path().join(&file)).unwrap(),
        };
        assert_eq!(digest, format!("sha256:{}", hex(&kept)), "{with}");
    }
    home.run(["verify"]).succeeds();
}

#[test]
fn a_stream_becomes_an_image_that_starts_what_was_asked_for() {
    let home = Home::new();
    let tarball = bytes();
    home.run_with_stdin(
        ["import", "-", "my:1", "--cmd", "/bin/echo hello"],
        &tarball,
    )
    .succeeds();
    assert_eq!(home.run(["run", "--rm", "my:1"]).succeeds().text(), "hello");
    home.run_with_stdin(
        ["import", "-", "my:2", "--cmd", r#"["/bin/echo", "a  b"]"#],
        &tarball,
    )
    .succeeds();
    assert_eq!(home.run(["run", "--rm", "my:2"]).succeeds().text(), "a  b");
    // Like a pulled one: the same tarball makes the same image.
    let digest = |home: &Home, image: &str| {
        home.run(["images", "-q", image])
            .succeeds()
            .text()
            .to_owned()
    };
    home.run_with_stdin(["import", "-", "my:3"], &tarball)
        .succeeds();
    home.run(["pull", "alpine:3.20"]).succeeds();
    assert_eq!(digest(&home, "my:3"), digest(&home, "alpine:3.20"));
}

#[test]
fn a_url_is_fetched_with_everything_that_pulls_have() {
    let server = Server::new(|_| {
        Response::new(bytes())
            .header("ETag", "\"x\"")
            .drop_after(u64::MAX)
    });
    let home = Home::with_mirror("http://127.0.0.1:1/");
    let url = server.url() + "/some/rootfs.tar.gz";
    let good = hex(&bytes());
    home.run(["import", &url, "my:1", "--sha256", &"0".repeat(64)])
        .fails(&[&url, "wrong content", &good]);
    is_empty(&home);
    home.run(["import", &url, "my:1", "--sha256", &good])
        .succeeds();
    runs(&home, "my:1");
    let image = &home.run(["images", "--format", "json"]).succeeds().json()[0];
    assert_eq!(image["verified"]["by"], "digest");
    assert_eq!(image["url"], url);
    // What is there already is not fetched again.
    let before = server.requests().len();
    home.run(["import", &url, "my:2", "--sha256", &good])
        .succeeds();
    assert_eq!(server.requests().len(), before);
}

#[test]
fn what_is_no_root_filesystem_is_refused() {
    let home = Home::new();
    home.run(["import", "nowhere.tar", "my:1"])
        .fails(&["nowhere.tar", "not found"]);
    home.run(["import", "/etc", "my:1"])
        .fails(&["/etc", "a directory"]);
    home.run(["import", "gopher://x/y", "my:1"])
        .fails(&["gopher://x/y", "expected http, https or file"]);
    home.run(["import", "-", "My:1"]).fails(&["My:1"]);
    home.run(["import", "-", "my:1", "--sha256", "abc"])
        .fails(&["abc", "64 hexadecimal digits"]);
    for junk in [
        &b"this is no archive"[..],
        &[0x1f, 0x8b, 8, 0, 1, 2, 3],
        &bytes()[..100_000],
    ] {
        home.run_with_stdin(["import", "-", "my:1"], junk)
            .fails(&["cannot unpack my:1"]);
    }
    is_empty(&home);
    home.run(["gc"]).succeeds();
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_so_and_no_mirror_is_blamed() {
    let home = Home::new();
    let failed = home
        .run(["import", "/nonexistent/rootfs.tar", "mine:1"])
        .fails(&["/nonexistent/rootfs.tar: not found"]);
    assert!(
        failed.stderr.contains("hint: give the path of a tarball"),
        "{}",
        failed.stderr
    );
    assert!(!failed.stderr.contains("mirror"), "{}", failed.stderr);
}
