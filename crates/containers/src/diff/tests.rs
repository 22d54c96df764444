#![allow(clippy::unwrap_used)]
use super::*;
use rustix::fs::FileType;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Layers and an upper directory in a place that has trusted xattrs.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["low", "high", "upper"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn file(&self, path: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn dir(&self, path: &str) {
        fs::create_dir_all(self.dir.path().join(path)).unwrap();
    }

    fn whiteout(&self, path: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        rustix::fs::mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            rustix::fs::Mode::empty(),
            0,
        )
        .unwrap();
    }

    fn opaque(&self, path: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(&path).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", flags).unwrap();
    }

    fn changes(&self, mounted: &[&str]) -> Vec<String> {
        let at = |name: &str| self.dir.path().join(name);
        let mounted: Vec<PathBuf> = mounted.iter().map(PathBuf::from).collect();
        changes(
            &WritableFiles::Upper(at("upper")),
            &Layers::of_directories([at("low"), at("high")]),
            &mounted,
        )
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change.kind.letter(), change.path.display()))
        .collect()
    }
}

use rustix::fs::CWD;

#[test]
fn nothing_changed() {
    let it = Fixture::new();
    it.file("low/etc/passwd");
    it.dir("upper/etc");
    assert!(it.changes(&[]).is_empty());
}

#[test]
fn added_changed_deleted() {
    let it = Fixture::new();
    it.file("low/etc/passwd");
    it.file("low/etc/group");
    it.file("low/usr/bin/x");
    it.file("upper/etc/passwd");
    it.file("upper/etc/new/file");
    it.whiteout("upper/etc/group");
    it.whiteout("upper/etc/never-was");
    fs::set_permissions(
        it.dir.path().join("upper/etc/new"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let expected = [
        "C /etc",
        "D /etc/group",
        "A /etc/new",
        "A /etc/new/file",
        "C /etc/passwd",
    ];
    assert_eq!(it.changes(&[]), expected);
}

#[test]
fn a_mode_is_a_change() {
    let it = Fixture::new();
    it.dir("low/srv");
    it.dir("upper/srv");
    fs::set_permissions(
        it.dir.path().join("upper/srv"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    assert_eq!(it.changes(&[]), ["C /srv"]);
}

#[test]
fn an_opaque_directory_deletes_what_it_hides_at_every_depth() {
    let it = Fixture::new();
    it.file("low/d/a");
    it.file("low/d/sub/b");
    it.file("low/d/sub/kept");
    it.file("high/d/c");
    it.opaque("upper/d");
    it.file("upper/d/sub/kept");
    it.file("upper/d/sub/new");
    let expected = [
        "C /d",
        "D /d/a",
        "D /d/c",
        "C /d/sub",
        "D /d/sub/b",
        "C /d/sub/kept",
        "A /d/sub/new",
    ];
    assert_eq!(it.changes(&[]), expected);
}

#[test]
fn marks_that_anybody_can_set_mean_nothing() {
    let it = Fixture::new();
    for (path, name) in [
        ("upper/etc", "user.overlay.opaque"),
        ("upper/etc", "trusted.overlay.overlay.opaque"),
        ("high/lib", "user.overlay.opaque"),
    ] {
        it.file("low/etc/passwd");
        it.file("low/lib/a");
        it.dir(path);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(it.dir.path().join(path), name, b"y", flags).unwrap();
    }
    it.whiteout("upper/lib/a");
    assert_eq!(it.changes(&[]), ["C /lib", "D /lib/a"]);
}

#[test]
fn deep_trees_are_told_of() {
    const LEVELS: usize = 700;
    let it = Fixture::new();
    it.dir(&format!("upper{}", "/d".repeat(LEVELS)));
    assert_eq!(it.changes(&[]).len(), LEVELS);
}

#[test]
fn layers_hide_each_other() {
    let it = Fixture::new();
    it.file("low/a/x");
    it.file("low/b/x");
    it.file("low/c");
    it.opaque("high/a");
    it.whiteout("high/b");
    it.file("high/c/in");
    it.file("upper/a/x");
    it.file("upper/b/x");
    it.file("upper/c/in");
    assert_eq!(
        it.changes(&[]),
        ["C /a", "A /a/x", "A /b", "A /b/x", "C /c", "C /c/in"]
    );
}

#[test]
fn kinds_replace_each_other() {
    let it = Fixture::new();
    it.file("low/dir/x");
    it.file("low/file");
    it.file("upper/dir");
    it.file("upper/file/in");
    assert_eq!(it.changes(&[]), ["C /dir", "C /file", "A /file/in"]);
}

#[test]
fn what_was_made_to_mount_on_is_no_change() {
    let it = Fixture::new();
    it.file("low/etc/passwd");
    it.dir("upper/etc");
    fs::write(it.dir.path().join("upper/etc/hosts"), "").unwrap();
    it.dir("upper/data/deep");
    assert!(it.changes(&["/etc/hosts", "/data/deep"]).is_empty());
    // Something in it is one.
    it.file("upper/data/mine");
    assert_eq!(
        it.changes(&["/etc/hosts", "/data/deep"]),
        ["A /data", "A /data/mine"]
    );
}

#[test]
fn links_in_the_upper_are_not_followed() {
    let it = Fixture::new();
    it.dir("low/etc");
    std::os::unix::fs::symlink("/etc", it.dir.path().join("upper/etc")).unwrap();
    assert_eq!(it.changes(&[]), ["C /etc"]);
}
