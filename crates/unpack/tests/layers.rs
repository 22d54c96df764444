//! Layers on top of each other: what the kernel's overlay shows of layer trees, what a copy of them holds, and what
//! unpacking them to one directory gives are the same tree.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use box_cache::{DiffId, Digest};
use box_unpack::{Error, Layer, LayerStore, Layers, Limits, unpack_layers};
use support::archive::{Head, Tar, gzip};
use support::merged::{files, files_of};
use support::{assert_same, require_root, snapshot, xattrs};

/// An overlay of layers, unmounted when dropped.
struct Overlay {
    merged: PathBuf,
}

impl Overlay {
    fn mount(dir: &Path, layers: &Layers) -> Overlay {
        let [merged, upper, work] = ["merged", "upper", "work"].map(|name| dir.join(name));
        for path in [&merged, &upper, &work] {
            fs::create_dir(path).unwrap();
        }
        let lower: Vec<String> = layers
            .trees()
            .rev()
            .map(|path| path.display().to_string())
            .collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            upper.display(),
            work.display()
        );
        let mount = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o"])
            .arg(options)
            .arg(&merged)
            .status();
        assert!(mount.unwrap().success());
        // The merged root is the upper directory's.
        let lowest = fs::metadata(topmost(layers)).unwrap();
        fs::set_permissions(&merged, lowest.permissions()).unwrap();
        let time = fs::FileTimes::new().set_modified(lowest.modified().unwrap());
        fs::File::open(&merged).unwrap().set_times(time).unwrap();
        Overlay { merged }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.merged).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "the overlay stays mounted"
        );
    }
}

fn topmost(layers: &Layers) -> &Path {
    layers.trees().next_back().unwrap()
}

fn id_of(archive: &[u8]) -> DiffId {
    DiffId(Digest::of(archive))
}

/// Unpacks archives as layers, the lowest first.
fn unpack_to_store(store: &LayerStore, archives: &[Vec<u8>]) -> Layers {
    let ids: Vec<DiffId> = archives.iter().map(|archive| id_of(archive)).collect();
    let blob = |id: &DiffId| {
        let archive = archives
            .iter()
            .find(|archive| id_of(archive) == *id)
            .unwrap();
        Ok(std::io::Cursor::new(gzip(archive)))
    };
    store.unpack_all(&ids, blob, &Limits::default()).unwrap();
    store.layers(&ids).unwrap()
}

/// Unpacks in all three ways and compares; gives the paths that are there in the end.
fn assert_alike(archives: &[Vec<u8>]) -> BTreeSet<String> {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let layers = unpack_to_store(&LayerStore::open(dir.path().join("layers")), archives);
    let (plain, copy) = (dir.path().join("plain"), dir.path().join("copy"));
    let archives = archives.iter().map(|archive| {
        Ok(Layer {
            blob: &archive[..],
            diff_id: Some(id_of(archive)),
        })
    });
    unpack_layers(archives, &plain, &Limits::default()).unwrap();
    layers.copy_to(&copy).unwrap();
    assert_same(&copy, &plain);
    let overlay = Overlay::mount(dir.path(), &layers);
    assert_same(&overlay.merged, &plain);
    assert_eq!(files(&overlay.merged), files_of(&layers.merged().unwrap()));
    snapshot(&plain)
        .into_keys()
        .map(|path| String::from_utf8(path).unwrap())
        .collect()
}

fn base() -> Tar {
    Tar::new()
        .dir("./")
        .dir("etc")
        .file("etc/passwd", "root")
        .file("etc/shadow", "secret")
        .dir("etc/ssl")
        .file("etc/ssl/cert", "cert")
        .dir("var")
        .dir("var/cache")
        .file("var/cache/a", "a")
        .dir("var/cache/sub")
        .file("var/cache/sub/b", "b")
        .symlink("bin", "usr/bin")
        .dir("usr")
        .dir("usr/bin")
        .file("usr/bin/sh", "sh")
        .hard_link("usr/bin/ash", "usr/bin/sh")
}

fn upper() -> Tar {
    Tar::new()
        .dir("./")
        .dir("etc")
        .dir("var")
        .dir("usr")
        .dir("usr/bin")
}

fn paths(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn whiteouts_hide_files_and_directories() {
    let top = upper()
        .file("etc/.wh.shadow", "")
        .file("etc/.wh.ssl", "")
        .file(".wh.var", "")
        .file(".wh.absent", "");
    let seen = assert_alike(&[base().end(), top.end()]);
    // The directory that is hidden stands in the layer too, as the archive says both; the entry of the layer counts.
    let expected = [
        "",
        "bin",
        "etc",
        "etc/passwd",
        "usr",
        "usr/bin",
        "usr/bin/ash",
        "usr/bin/sh",
        "var",
    ];
    assert_eq!(seen, paths(&expected));
}

#[test]
fn opaque_directories_hide_what_is_below_them() {
    for opaque_first in [true, false] {
        let mut top = upper().dir("var/cache");
        if opaque_first {
            top = top.file("var/cache/.wh..wh..opq", "");
        }
        top = top
            .file("var/cache/new", "new")
            .dir("var/cache/sub")
            .file("var/cache/sub/c", "c");
        if !opaque_first {
            top = top.file("var/cache/.wh..wh..opq", "");
        }
        let seen = assert_alike(&[base().end(), top.end()]);
        let cache: Vec<_> = seen
            .iter()
            .filter(|path| path.starts_with("var/cache/"))
            .collect();
        assert_eq!(cache, ["var/cache/new", "var/cache/sub", "var/cache/sub/c"]);
    }
}

#[test]
fn what_replaces_a_whiteout_starts_afresh() {
    let top = upper()
        .file("var/.wh.cache", "")
        .dir("var/cache")
        .file("var/cache/new", "new");
    let seen = assert_alike(&[base().end(), top.end()]);
    assert!(
        seen.contains("var/cache/new")
            && !seen.contains("var/cache/a")
            && !seen.contains("var/cache/sub")
    );
    // Also where the directory is only implied, or comes first.
    let implied = upper()
        .file("var/.wh.cache", "")
        .file("var/cache/new", "new");
    assert!(!assert_alike(&[base().end(), implied.end()]).contains("var/cache/a"));
    let first = upper()
        .dir("var/cache")
        .file("var/cache/new", "new")
        .file("var/.wh.cache", "");
    assert_eq!(assert_alike(&[base().end(), first.end()]), seen);
}

#[test]
fn marks_that_are_repeated_cost_nothing_and_keep_what_the_layer_made() {
    // Were the directory listed for each mark, this would take hundreds of millions of looks.
    let many = |tar: Tar| (0..20_000).fold(tar, |tar, n| tar.file(format!("d/{n}"), ""));
    let lower = many(Tar::new().dir("d/sub").file("d/sub/x", "x")).end();
    let upper = many(Tar::new().dir("d/sub")).file("d/sub/new", "");
    let marks = (0..20_000).fold(upper, |tar, _| {
        tar.file("d/.wh..wh..opq", "").file("d/.wh.sub", "")
    });
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let archives = [lower, marks.end()];
    let archives = archives.iter().map(|archive| {
        Ok(Layer {
            blob: &archive[..],
            diff_id: None,
        })
    });
    let plain = dir.path().join("plain");
    unpack_layers(archives, &plain, &Limits::default()).unwrap();
    assert_eq!(fs::read_dir(plain.join("d")).unwrap().count(), 20_001);
    let names: Vec<_> = fs::read_dir(plain.join("d/sub"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["new"]);
}

#[test]
fn types_change_between_layers() {
    let top = upper()
        .file("bin", "no link any more")
        .symlink("etc/ssl", "/nowhere")
        .dir("etc/passwd")
        .file("etc/passwd/below", "x")
        .with(Head::new(b'0', "usr/bin/sh").mode(0o4755), "new sh");
    let third = upper()
        .file("etc/.wh.passwd", "")
        .dir("etc/ssl")
        .file("etc/ssl/again", "x");
    let seen = assert_alike(&[base().end(), top.clone().end()]);
    assert!(seen.contains("etc/passwd/below") && !seen.contains("etc/ssl/cert"));
    let seen = assert_alike(&[base().end(), top.end(), third.end()]);
    assert!(
        seen.contains("etc/ssl/again")
            && !seen.contains("etc/ssl/cert")
            && !seen.contains("etc/passwd")
    );
}

#[test]
fn whiteouts_keep_what_their_own_layer_put_into_a_lower_directory() {
    // No entry for `etc`, `var/cache` or `sub`: the layer only passes through them.
    let top = Tar::new()
        .dir("./")
        .file("etc/new", "new")
        .file(".wh.etc", "")
        .file("var/cache/sub/new", "new")
        .file("var/cache/.wh..wh..opq", "");
    let seen = assert_alike(&[base().end(), top.end()]);
    assert!(seen.contains("etc/new") && seen.contains("var/cache/sub/new"));
    assert!(!seen.contains("etc/passwd") && !seen.contains("var/cache/sub/b"));
    assert!(!seen.contains("var/cache/a"));
}

#[test]
fn a_layer_may_come_again() {
    let layer = || Tar::new().dir("./").dir("extra");
    let extra = layer().file("extra/a", "a").end();
    let hides = layer().file("extra/.wh.a", "").file("b", "b").end();
    let empty = Tar::new().dir("./").end();
    let seen = assert_alike(&[
        base().end(),
        extra.clone(),
        empty.clone(),
        hides.clone(),
        empty.clone(),
    ]);
    assert!(!seen.contains("extra/a"));
    let seen = assert_alike(&[base().end(), extra.clone(), empty, hides, extra]);
    assert!(seen.contains("extra/a") && seen.contains("b"));
}

#[test]
fn clearing_has_an_end_below_links_that_lead_ever_deeper() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let lower = Tar::new().dir("x").file("x/old", "").end();
    let mut upper = Tar::new();
    let mut above = String::new();
    for step in 0..15 {
        let mut path = above.clone();
        for _ in 0..200 {
            path += "d/";
            upper = upper.pax(&[("path", &path)]).dir("d");
        }
        let link = format!("link-{step}");
        upper = upper.pax(&[("linkpath", &path)]).symlink(&link, "d");
        above = link + "/";
    }
    let archives = [lower, upper.file(".wh.d", "").end()];
    let archives = archives.iter().map(|archive| {
        Ok(Layer {
            blob: &archive[..],
            diff_id: None,
        })
    });
    let plain = dir.path().join("plain");
    let refused = unpack_layers(archives, &plain, &Limits::default()).unwrap_err();
    assert!(refused.to_string().contains("levels"), "{refused}");
    assert!(!plain.exists());
}

#[test]
fn an_opaque_root_ends_the_stack() {
    let top = Tar::new()
        .dir("./")
        .file(".wh..wh..opq", "")
        .file("only", "x");
    assert_eq!(
        assert_alike(&[base().end(), top.end()]),
        paths(&["", "only"])
    );
}

#[test]
fn layers_have_the_overlays_signs() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let top = upper()
        .file("etc/.wh.shadow", "")
        .file("var/.wh..wh..opq", "")
        .end();
    let layers = unpack_to_store(&LayerStore::open(dir.path()), &[top]);
    let whiteout = fs::symlink_metadata(topmost(&layers).join("etc/shadow")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(std::os::unix::fs::MetadataExt::rdev(&whiteout), 0);
    assert_eq!(
        xattrs(&topmost(&layers).join("var"))["trusted.overlay.opaque"],
        b"y"
    );
    assert!(xattrs(&topmost(&layers).join("etc")).is_empty());
}

#[test]
fn makers_of_one_layer_meet() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path());
    let archive = base().end();
    let id = id_of(&archive);
    let opened = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let open = || {
                    opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(&archive[..])
                };
                store.unpack(&id, open, Limits::default()).unwrap();
            });
        }
    });
    assert_eq!(opened.into_inner(), 1, "one works, the others wait");
    // Who did not know beforehand finds it there at the end.
    let mut writer = store.writer(Limits::default()).unwrap();
    writer.push(&gzip(&archive)).unwrap();
    assert_eq!(
        writer.finish().unwrap().publish().unwrap(),
        store.get(&id).unwrap()
    );
    assert_eq!(store.list().unwrap(), [id]);
    assert_eq!(
        fs::read_dir(dir.path().join(".staging")).unwrap().count(),
        0
    );
}

#[test]
fn a_layer_with_another_digest_is_not_published() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path());
    let archive = base().end();
    let wrong = id_of(b"something else");
    let error = store
        .unpack(&wrong, || Ok(&archive[..]), Limits::default())
        .unwrap_err();
    assert!(
        matches!(&error, Error::DiffId { expected, .. } if **expected == wrong),
        "{error}"
    );
    assert!(
        error.to_string().contains(&id_of(&archive).to_string()),
        "{error}"
    );
    assert!(store.list().unwrap().is_empty());
    // What follows the archive's end counts for the digest.
    let padded = [archive.clone(), vec![0; 9 * 1024], b"junk".to_vec()].concat();
    assert!(
        store
            .unpack(&id_of(&archive), || Ok(&padded[..]), Limits::default())
            .is_err()
    );
    store
        .unpack(&id_of(&padded), || Ok(&padded[..]), Limits::default())
        .unwrap();
    // The other algorithm that images may use.
    let mut hasher = box_cache::Hasher::sha512();
    hasher.update(&archive);
    let id = DiffId(hasher.finish());
    let path = store
        .unpack(&id, || Ok(&archive[..]), Limits::default())
        .unwrap();
    assert_eq!(store.get(&id), Some(path));
}

#[test]
fn an_abandoned_writer_leaves_nothing_and_a_dead_ones_tree_is_swept() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path());
    let mut writer = store.writer(Limits::default()).unwrap();
    writer.push(&base().cut()).unwrap();
    let staging = dir.path().join(".staging");
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 1);
    assert_eq!(
        store.sweep().unwrap(),
        0,
        "what is being made is left alone"
    );
    drop(writer);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
    fs::create_dir_all(staging.join("4711-0/etc")).unwrap();
    fs::write(staging.join("4711-0/etc/passwd"), "left behind").unwrap();
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}

#[test]
fn a_copy_keeps_holes_and_shares_nothing() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let sparse = Head::new(b'S', "sparse").gnu_sparse(&[(0, 4), (8 << 20, 4)], false, 16 << 20);
    let archive = base().with(sparse, "headtail").end();
    let layers = unpack_to_store(&LayerStore::open(dir.path().join("layers")), &[archive]);
    let before = snapshot(topmost(&layers));
    let copy = dir.path().join("copy");
    layers.copy_to(&copy).unwrap();
    assert_same(&copy, topmost(&layers));
    let blocks =
        std::os::unix::fs::MetadataExt::blocks(&fs::metadata(copy.join("sparse")).unwrap());
    assert!(blocks < 100, "{blocks} blocks: its hole is filled");
    fs::write(copy.join("usr/bin/sh"), "changed").unwrap();
    assert_eq!(
        fs::read(copy.join("usr/bin/ash")).unwrap(),
        b"changed",
        "hard links stay together"
    );
    assert_eq!(snapshot(topmost(&layers)), before);
}
