//! The release that the tests pull, and the required state of a home before and after a failure.

use std::fs;
use std::path::PathBuf;

use box_tests::server::{Body, Response};
use box_tests::{Home, Mirror};
use sha2::{Digest, Sha256};

/// The release of `alpine:3.20` on the tests' mirror.
pub const VERSION: &str = "3.20.3";

/// URL path of its tarball.
pub fn tarball() -> String {
    format!("/{}/{}", directory(), file())
}

/// URL path of the release list.
pub fn list() -> String {
    format!("/{}/latest-releases.yaml", directory())
}

/// The text of the release list.
pub fn list_text() -> String {
    fs::read_to_string(Mirror::get().releases(VERSION).join("latest-releases.yaml")).unwrap()
}

/// The bytes of the tarball.
pub fn bytes() -> Vec<u8> {
    fs::read(Mirror::get().tarball(VERSION)).unwrap()
}

/// The size of the tarball in bytes.
pub fn size() -> u64 {
    Mirror::get().tarball(VERSION).metadata().unwrap().len()
}

/// The correct response with the tarball.
pub fn whole() -> Response {
    Response::with(200, Body::Bytes(bytes())).header("ETag", "\"one\"")
}

/// The tarball from an offset on, as the response to a range request.
pub fn rest(offset: u64) -> Response {
    let size = size();
    let bytes = bytes().split_off(usize::try_from(offset).unwrap());
    Response::with(206, Body::Bytes(bytes)).header(
        "Content-Range",
        format!("bytes {offset}-{}/{size}", size - 1),
    )
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The arguments of a pull that fails quickly.
pub const PULL: [&str; 5] = ["pull", "alpine:3.20", "--retries", "2", "--stall-timeout=1"];

/// Asserts that the image exists, runs, and is byte for byte the publisher's.
#[track_caller]
pub fn is_whole(home: &Home) {
    let expected = hex(&bytes());
    let blob = blobs(home).join(&expected);
    assert_eq!(hex(&fs::read(blob).unwrap()), expected);
    let release = home.run([
        "run",
        "--rm",
        "--offline",
        "alpine:3.20",
        "cat",
        "/etc/alpine-release",
    ]);
    assert_eq!(release.succeeds().text(), VERSION);
    assert!(partial(home).is_empty(), "{:?}", partial(home));
}

/// Asserts that a failed pull left nothing visible: no image, no blob, no layer.
#[track_caller]
pub fn is_empty(home: &Home) {
    let images = home.run(["images", "--format", "json"]).succeeds();
    assert_eq!(images.text(), "[]");
    let names = |dir: PathBuf| -> Vec<_> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names(blobs(home)), Vec::<String>::new());
    let mut layers = names(home.root().join("layers"));
    layers.retain(|name| !name.starts_with('.'));
    assert_eq!(layers, Vec::<String>::new());
}

/// The directory of the blobs.
pub fn blobs(home: &Home) -> PathBuf {
    home.cache().join("blobs/sha256")
}

/// Unfinished downloads, without their metadata files.
pub fn partial(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.cache().join("partial"))
        .into_iter()
        .flatten();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none())
        .collect()
}

fn directory() -> String {
    format!("v3.20/releases/{}", std::env::consts::ARCH)
}

fn file() -> String {
    format!(
        "alpine-minirootfs-{VERSION}-{}.tar.gz",
        std::env::consts::ARCH
    )
}
