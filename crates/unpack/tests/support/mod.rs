//! What the tests of unpacking share: looking at whole trees, and archives as bytes.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use box_cache::Digest;

pub mod archive;
pub mod arena;
pub mod merged;

/// Everything that can be seen of a tree, one line for each path (the root is ""): type, mode, owner, size, times,
/// link target, device, the first path of the same inode, extended attributes, digest of the content.
pub fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    // Not by recursion, as trees here may be deep. Names in order, so that first paths are the same everywhere.
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        lines.insert(
            path.as_os_str().as_bytes().to_vec(),
            describe(&full, &path, &mut inodes),
        );
        if fs::symlink_metadata(&full).unwrap().is_dir() {
            let mut names: Vec<OsString> = fs::read_dir(&full)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            waiting.extend(names.into_iter().rev().map(|name| path.join(name)));
        }
    }
    lines
}

fn describe(full: &Path, path: &Path, inodes: &mut BTreeMap<(u64, u64), PathBuf>) -> String {
    let meta = fs::symlink_metadata(full).unwrap();
    let kind = meta.file_type();
    let mut line = format!(
        "mode={:o} owner={}:{} mtime={}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if !kind.is_dir() {
        let first = inodes
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| path.to_owned());
        line += &format!(" inode={first:?} size={}", meta.size());
    }
    if kind.is_char_device() || kind.is_block_device() {
        line += &format!(" device={:x}", meta.rdev());
    }
    if kind.is_symlink() {
        line += &format!(" target={:?}", fs::read_link(full).unwrap());
    }
    if kind.is_file() {
        line += &format!(" content={}", Digest::of(&fs::read(full).unwrap()));
    }
    for (name, value) in xattrs(full) {
        line += &format!(" {name}={}", value.escape_ascii());
    }
    line
}

/// The extended attributes of a path itself, by name.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0u8; 64 * 1024];
    let length = rustix::fs::llistxattr(path, &mut list).unwrap();
    let names = list[..length]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    for name in names {
        let mut value = vec![0u8; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        found.insert(
            String::from_utf8_lossy(name).into_owned(),
            value[..length].to_vec(),
        );
    }
    found
}

/// Fails with the first differences where two trees are not the same.
pub fn assert_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (snapshot(ours), snapshot(theirs));
    let mut differences = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|path| !ours.contains_key(*path)))
    {
        let (a, b) = (ours.get(path), theirs.get(path));
        if a != b {
            differences.push(format!(
                "{}\n  ours:   {a:?}\n  theirs: {b:?}",
                OsString::from_vec(path.clone()).display()
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(10)].join("\n")
    );
}

/// Unpacks with GNU tar, keeping all it can.
pub fn gnu_tar(archive: &Path, into: &Path) {
    fs::create_dir(into).unwrap();
    let output = Command::new("tar")
        .args([
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--same-owner",
            "-xpf",
        ])
        .arg(archive)
        .arg("-C")
        .arg(into)
        .output()
        .expect("GNU tar is there");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Real tarballs: Alpine's from the mirror that tests use; where there is no mirror, this machine's own /etc, packed
/// into `dir`.
pub fn real_tarballs(dir: &Path) -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/mirror/alpine");
    let mirror = std::env::var_os("BOX_TEST_MIRROR").map_or(beside, PathBuf::from);
    let mut found = Vec::new();
    for (branch, arch) in [
        ("v3.18", "x86_64"),
        ("v3.18", "aarch64"),
        ("v3.20", "x86_64"),
        ("v3.20", "aarch64"),
    ] {
        let Ok(entries) = fs::read_dir(mirror.join(branch).join("releases").join(arch)) else {
            continue;
        };
        let tarballs = entries.map(|entry| entry.unwrap().path());
        found.extend(tarballs.filter(|path| path.extension().is_some_and(|ext| ext == "gz")));
    }
    if found.is_empty() {
        let packed = dir.join("etc.tar.gz");
        let status = Command::new("tar")
            .args(["-C", "/", "-czf"])
            .arg(&packed)
            .arg("etc")
            .status();
        assert!(status.unwrap().success());
        found.push(packed);
    }
    found
}

/// Tests that keep owners and make devices are meaningless otherwise.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: it keeps owners and makes device nodes"
    );
}
