#![allow(clippy::unwrap_used)]
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, XattrFlags};

use super::merged::Found;
use super::*;

/// Trees of layers in a place that takes trusted attributes.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["low", "middle", "high"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn whiteout(&self, path: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        rustix::fs::mknodat(
            CWD,
            self.at(path),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .unwrap();
    }

    /// The other sign of a whiteout: an empty file with an attribute.
    fn marked(&self, path: &str) {
        self.file(path, "");
        self.set(path, "trusted.overlay.whiteout");
    }

    fn opaque(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
        self.set(path, "trusted.overlay.opaque");
    }

    fn set(&self, path: &str, attribute: &str) {
        rustix::fs::setxattr(self.at(path), attribute, b"y", XattrFlags::empty()).unwrap();
    }

    fn layers(&self) -> Layers {
        Layers::of_directories(["low", "middle", "high"].map(|name| self.at(name)))
    }

    /// The inode of a path in the merged view.
    fn find(&self, path: &str) -> Option<u64> {
        let merged = self.layers().merged().unwrap();
        let mut directory = merged.root().unwrap();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            match merged.find(&directory, OsStr::new(name)).unwrap() {
                Found::Directory(below) => directory = below,
                Found::File(file) if names.peek().is_none() => {
                    let stat = rustix::fs::fstat(merged.open_file(&file).unwrap()).unwrap();
                    assert_eq!(stat.st_ino, file.stat().st_ino);
                    assert_eq!(file.path(), Path::new(path));
                    return Some(stat.st_ino);
                }
                _ => return None,
            }
        }
        Some(directory.stat().st_ino)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let merged = self.layers().merged().unwrap();
        let mut directory = merged.root().unwrap();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Found::Directory(below) = merged.find(&directory, OsStr::new(name)).unwrap() else {
                panic!("{path} is no directory");
            };
            directory = below;
        }
        let names = merged.names(&directory).unwrap();
        names
            .iter()
            .map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap())
            .collect()
    }

    fn inode(&self, path: &str) -> Option<u64> {
        Some(fs::symlink_metadata(self.at(path)).unwrap().ino())
    }
}

#[test]
fn the_topmost_file_is_found() {
    let it = Fixture::new();
    it.file("low/etc/passwd", "low");
    it.file("high/etc/passwd", "high");
    it.file("low/etc/group", "low");
    assert_eq!(it.find("etc/passwd"), it.inode("high/etc/passwd"));
    assert_eq!(it.find("etc/group"), it.inode("low/etc/group"));
    assert_eq!(it.find("etc"), it.inode("high/etc"));
    assert_eq!(it.find("etc/shadow"), None);
    assert_eq!(it.names("etc"), ["group", "passwd"]);
    assert_eq!(it.names(""), ["etc"]);
}

#[test]
fn whiteouts_of_both_kinds_hide_what_is_below() {
    let it = Fixture::new();
    it.file("low/d/a", "a");
    it.file("low/d/b", "b");
    it.file("low/d/empty", "");
    it.whiteout("middle/d/a");
    it.marked("middle/d/b");
    assert_eq!(it.find("d/a"), None);
    assert_eq!(it.find("d/b"), None);
    assert_eq!(it.names("d"), ["empty"]);
    it.file("high/d/a", "again");
    assert_eq!(it.find("d/a"), it.inode("high/d/a"));
}

#[test]
fn a_directory_ends_at_a_whiteout_a_file_or_an_opaque_one() {
    let it = Fixture::new();
    it.file("low/gone/old", "");
    it.whiteout("middle/gone");
    it.file("high/gone/new", "");
    it.file("low/replaced/old", "");
    it.file("middle/replaced", "a file");
    it.file("high/replaced/new", "");
    it.file("low/opaque/old", "");
    it.opaque("middle/opaque");
    it.file("middle/opaque/kept", "");
    it.file("high/opaque/new", "");
    assert_eq!(it.names("gone"), ["new"]);
    assert_eq!(it.names("replaced"), ["new"]);
    assert_eq!(it.names("opaque"), ["kept", "new"]);
    assert_eq!(it.find("opaque/old"), None);
}

#[test]
fn a_link_to_a_directory_is_a_file_and_hides_one() {
    let it = Fixture::new();
    it.file("low/lib/libc", "");
    it.file("low/usr/lib/libm", "");
    std::os::unix::fs::symlink("usr/lib", it.at("high/lib")).unwrap();
    assert_eq!(it.find("lib"), it.inode("high/lib"));
    assert_eq!(it.find("lib/libc"), None);
    assert_eq!(it.find("lib/libm"), None, "a link is not followed");
}

#[test]
fn a_lowest_directory_is_no_layer() {
    let it = Fixture::new();
    it.file("low/mount/point", "");
    let layers = Layers::of_directories([it.at("high")]).over(it.at("low"));
    assert_eq!((layers.len(), layers.ids()), (2, &[][..]));
    let trees: Vec<&Path> = layers.trees().collect();
    assert_eq!(trees, [it.at("low"), it.at("high")]);
    assert_eq!(layers.open().unwrap().len(), 2);
}

#[test]
fn a_missing_layer_is_named() {
    let it = Fixture::new();
    let store = LayerStore::open(it.at("store"));
    let [low, high] = ["low", "high"].map(|name| DiffId(box_cache::Digest::of(name.as_bytes())));
    let tree = store.path(&low);
    fs::create_dir_all(&tree).unwrap();
    let is_missing = |error: Error| error.to_string() == format!("layer {high} is missing");
    assert!(is_missing(store.layers(&[low, high]).unwrap_err()));
    let layers = store.stacked(&[low, high]).over(it.at("low"));
    assert!(is_missing(layers.check().unwrap_err()));
    assert!(is_missing(layers.open().unwrap_err()));
    assert!(is_missing(layers.open_topmost().unwrap_err()));
    assert!(is_missing(layers.merged().unwrap_err()));
    store.stacked(&[low]).over(it.at("low")).check().unwrap();
    // A directory that is not a layer is named by its path.
    let other = Layers::of_directories([it.at("nothing")]).check();
    assert!(
        other
            .unwrap_err()
            .to_string()
            .contains("nothing: no such file")
    );
    assert!(matches!(Layers::default().merged(), Err(Error::NoLayers)));
}
