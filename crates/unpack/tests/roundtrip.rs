//! What box unpacks is what GNU tar unpacks, to the last attribute.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};

use box_unpack::{LayerStore, Limits, unpack_archive};
use support::{alpine_tarballs, assert_same, gnu_tar, require_root};

#[test]
fn real_alpine_tarballs_unpack_as_with_gnu_tar() {
    require_root();
    for tarball in alpine_tarballs() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        let summary =
            unpack_archive(File::open(&tarball).unwrap(), &ours, &Limits::default()).unwrap();
        assert!(
            summary.entries > 400 && summary.bytes > 1 << 20,
            "{summary:?}"
        );
        gnu_tar(&tarball, &theirs);
        assert_same(&ours, &theirs);
    }
}

#[test]
fn a_real_tarball_becomes_a_layer() {
    require_root();
    let tarball = alpine_tarballs().pop().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path().join("layers"));
    let mut writer = store.writer(Limits::default()).unwrap();
    std::io::copy(&mut File::open(&tarball).unwrap(), &mut writer).unwrap();
    let staged = writer.finish().unwrap();
    let id = *staged.diff_id();
    assert_eq!(
        store.get(&id),
        None,
        "nothing is seen before it is published"
    );
    let layer = staged.publish().unwrap();
    assert_eq!(store.get(&id), Some(layer.clone()));
    let theirs = dir.path().join("theirs");
    gnu_tar(&tarball, &theirs);
    assert_same(&layer, &theirs);
    assert_eq!(store.list().unwrap(), [id]);
    assert!(store.remove(&id).unwrap());
    assert!(store.list().unwrap().is_empty());
    assert_eq!(
        fs::read_dir(dir.path().join("layers/.staging"))
            .unwrap()
            .count(),
        0
    );
}
