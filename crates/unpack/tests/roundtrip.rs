//! What box unpacks is what GNU tar unpacks, to the last attribute.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use box_unpack::{LayerStore, Limits, unpack_archive};
use support::archive::{Head, Tar};
use support::{assert_same, gnu_tar, real_tarballs, require_root, xattrs};

#[test]
fn real_alpine_tarballs_unpack_as_with_gnu_tar() {
    require_root();
    let packed = tempfile::tempdir().unwrap();
    for tarball in real_tarballs(packed.path()) {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        let summary =
            unpack_archive(File::open(&tarball).unwrap(), &ours, &Limits::default()).unwrap();
        assert!(summary.entries > 100, "{summary:?}");
        gnu_tar(&tarball, &theirs);
        assert_same(&ours, &theirs);
    }
}

#[test]
fn a_real_tarball_becomes_a_layer() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let tarball = real_tarballs(dir.path()).pop().unwrap();
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

/// Makes a tree with every type and oddity that archives can carry.
fn furnish(dir: &Path) {
    let file = |name: &str, content: &[u8], mode: u32, owner: (u32, u32)| {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(owner.0), Some(owner.1)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    fs::create_dir_all(dir.join("sub/deeper/still")).unwrap();
    fs::set_permissions(dir.join("sub"), Permissions::from_mode(0o2750)).unwrap();
    fs::set_permissions(dir.join("sub/deeper"), Permissions::from_mode(0o1777)).unwrap();
    file("plain", b"content", 0o644, (0, 0));
    file("empty", b"", 0o600, (1000, 1000));
    file("setuid", b"#!/bin/sh\n", 0o6755, (1000, 0));
    file("sub/in a setgid directory", b"x", 0o640, (0, 0));
    file("sub/deeper/unreadable", b"x", 0o000, (65534, 4_000_000_000));
    file("new\nline \u{1f980} \"quotes\" \\", b"x", 0o644, (0, 0));
    fs::write(dir.join(OsStr::from_bytes(b"not \xff utf-8")), "x").unwrap();
    fs::write(dir.join("l".repeat(255)), "long name").unwrap();
    let long = format!("sub/{}/{}", "a".repeat(120), "b".repeat(120));
    fs::create_dir_all(dir.join(&long)).unwrap();
    fs::write(dir.join(&long).join("c".repeat(120)), "long path").unwrap();
    symlink("../../nowhere/at all", dir.join("sub/dangling")).unwrap();
    symlink("x".repeat(3000), dir.join("long link")).unwrap();
    symlink("plain", dir.join("link")).unwrap();
    lchown(dir.join("link"), Some(7), Some(8)).unwrap();
    fs::hard_link(dir.join("plain"), dir.join("sub/hard")).unwrap();
    fs::hard_link(dir.join("link"), dir.join("sub/hard link to link")).unwrap();
    let node = |name: &str, kind, mode, device| {
        rustix::fs::mknodat(rustix::fs::CWD, dir.join(name), kind, mode, device).unwrap();
    };
    let mode = rustix::fs::Mode::from_raw_mode(0o620);
    node(
        "null",
        rustix::fs::FileType::CharacterDevice,
        mode,
        rustix::fs::makedev(1, 3),
    );
    node(
        "disk",
        rustix::fs::FileType::BlockDevice,
        mode,
        rustix::fs::makedev(259, 70_000),
    );
    node("pipe", rustix::fs::FileType::Fifo, mode, 0);
    let sparse = File::create(dir.join("sparse")).unwrap();
    sparse.write_all_at(b"middle", 1 << 20).unwrap();
    sparse.write_all_at(&[b'e'; 5000], 6 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    File::create(dir.join("hole"))
        .unwrap()
        .set_len(3 << 20)
        .unwrap();
    fs::write(dir.join("large"), vec![b'z'; 9 << 20]).unwrap();
}

/// Times with nanoseconds; links and directories have their own. Every seventh is before 1970, where wanted.
fn set_times(dir: &Path, early: bool, nanos: bool) {
    let paths: Vec<Vec<u8>> = support::snapshot(dir).into_keys().collect();
    for (number, path) in paths.iter().enumerate().rev() {
        let seconds = if early && number % 7 == 0 {
            -1000 - number as i64
        } else {
            1_500_000_000 + number as i64
        };
        let time = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: if nanos {
                (number as i64 * 7_654_321) % 1_000_000_000
            } else {
                0
            },
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let path = dir.join(OsStr::from_bytes(path));
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
    }
}

/// Attributes of files and directories; a capability as `setcap cap_net_raw+ep` writes it.
fn add_xattrs(dir: &Path) {
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(dir.join(name), key, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("plain", "user.comment", b"some \0 bytes = \n");
    set("empty", "user.empty", b"");
    set("sub", "user.directory", b"yes");
    // What the keys of extended headers cannot hold, or hold in an encoding.
    for name in [
        "a=b",
        "p%q",
        "x%3Dy",
        "n\nl",
        "\u{fc}",
        "=",
        &"%".repeat(250),
    ] {
        set("empty", &format!("user.{name}"), name.as_bytes());
    }
    set(
        "setuid",
        "security.capability",
        &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
}

fn pack(program: &str, options: &[&str], dir: &Path, archive: &Path) {
    let packed = Command::new(program)
        .args(options)
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(dir)
        .arg(".")
        .output();
    let packed = packed.unwrap();
    assert!(
        packed.status.success(),
        "{program} {options:?}: {}",
        String::from_utf8_lossy(&packed.stderr)
    );
}

/// What an unpacked tree is held against.
enum Model {
    GnuTar,
    /// GNU tar gives directories wrong times where others pack them in another order than it does itself.
    Original,
}

fn assert_round_trip(program: &str, options: &[&str], xattrs: bool, model: Model) {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    fs::create_dir(&original).unwrap();
    furnish(&original);
    if xattrs {
        add_xattrs(&original);
    }
    // libarchive writes fractions of seconds before 1970 in a way that means another time.
    set_times(
        &original,
        program == "tar",
        !options.contains(&"--format=gnutar"),
    );
    let archive = dir.path().join("archive");
    pack(program, options, &original, &archive);
    let ours = dir.path().join("ours");
    unpack_archive(File::open(&archive).unwrap(), &ours, &Limits::default()).unwrap();
    let theirs = dir.path().join("theirs");
    match model {
        Model::GnuTar => gnu_tar(&archive, &theirs),
        Model::Original => fs::rename(&original, &theirs).unwrap(),
    }
    assert_same(&ours, &theirs);
    if options.contains(&"--sparse") {
        for name in ["sparse", "hole"] {
            let blocks = fs::metadata(ours.join(name)).unwrap().blocks();
            assert!(
                blocks < 100,
                "{name} has {blocks} blocks: its holes are filled"
            );
        }
    }
}

#[test]
fn gnu_archives() {
    assert_round_trip("tar", &["--format=gnu"], false, Model::GnuTar);
    assert_round_trip("tar", &["--format=gnu", "--sparse"], false, Model::GnuTar);
    assert_round_trip(
        "tar",
        &["--format=gnu", "--sparse", "--zstd"],
        false,
        Model::GnuTar,
    );
}

#[test]
fn pax_archives() {
    assert_round_trip(
        "tar",
        &["--format=posix", "--xattrs", "--acls"],
        true,
        Model::GnuTar,
    );
    assert_round_trip(
        "tar",
        &["--format=posix", "--xattrs"],
        true,
        Model::Original,
    );
    for version in [
        "--sparse-version=0.0",
        "--sparse-version=0.1",
        "--sparse-version=1.0",
    ] {
        assert_round_trip(
            "tar",
            &["--format=posix", "--sparse", version, "-z"],
            false,
            Model::Original,
        );
    }
}

#[test]
fn libarchives_archives() {
    assert_round_trip(
        "bsdtar",
        &["--format=pax", "--xattrs", "--no-read-sparse"],
        true,
        Model::Original,
    );
    assert_round_trip("bsdtar", &["--format=gnutar", "-J"], false, Model::Original);
}

#[test]
fn access_control_lists_are_kept() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let tar = |acl: &str, default: &str| {
        let lists = [("SCHILY.acl.access", acl), ("SCHILY.acl.default", default)];
        Tar::new()
            .pax(&lists)
            .head(Head::new(b'5', "d").mode(0o750))
            .file("d/inherits nothing", "x")
            .dir("d/neither")
            .fifo("d/nor this")
            .pax(&lists[..1])
            .with(Head::new(b'0', "d/own").mode(0o670), "x")
    };
    let access = "user::rwx,user:1000:rwx,group::r-x,mask::rwx,other::---";
    let archive = tar(
        access,
        "user::rwx,user:1001:rwx,group::---,mask::rwx,other::---",
    )
    .end();
    let ours = dir.path().join("ours");
    unpack_archive(&archive[..], &ours, &Limits::default()).unwrap();
    let names = |name: &str| xattrs(&ours.join(name)).into_keys().collect::<Vec<_>>();
    assert_eq!(
        names("d"),
        ["system.posix_acl_access", "system.posix_acl_default"]
    );
    assert_eq!(names("d/own"), ["system.posix_acl_access"]);
    for name in ["d/inherits nothing", "d/neither", "d/nor this"] {
        assert!(names(name).is_empty(), "{name}");
    }
    assert_eq!(
        fs::metadata(ours.join("d/inherits nothing"))
            .unwrap()
            .mode()
            & 0o7777,
        0o644
    );
    assert_eq!(
        fs::metadata(ours.join("d/neither")).unwrap().mode() & 0o7777,
        0o755
    );
    let path = dir.path().join("archive");
    fs::write(&path, &archive).unwrap();
    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let mut tar = Command::new("tar");
    assert!(
        tar.args(["--acls", "-xpf"])
            .arg(&path)
            .arg("-C")
            .arg(&theirs)
            .status()
            .unwrap()
            .success()
    );
    for name in ["d", "d/own"] {
        assert_eq!(
            xattrs(&ours.join(name)),
            xattrs(&theirs.join(name)),
            "{name}"
        );
    }
}

/// A Debian root file system, where there is one: a large, real archive. `scripts/test` makes it with mmdebstrap.
#[test]
fn a_large_archive_named_by_the_environment() {
    require_root();
    let Some(archive) = std::env::var_os("BOX_TEST_ROOTFS") else {
        announce("NOT RUN: unpacking a Debian root file system: BOX_TEST_ROOTFS names none");
        return;
    };
    announce(&format!("unpacking {}", archive.display()));
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    unpack_archive(File::open(&archive).unwrap(), &ours, &Limits::default()).unwrap();
    gnu_tar(Path::new(&archive), &theirs);
    assert_same(&ours, &theirs);
}

/// Said past the harness, which keeps what passing tests print to itself.
fn announce(text: &str) {
    use std::io::Write;
    let line = format!("{text}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn an_empty_directory_is_filled_and_stays_the_directory_it_is() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    // With what a killed attempt left in it.
    fs::create_dir_all(ours.join(".unpacking-4711-0/etc")).unwrap();
    let inode = fs::metadata(&ours).unwrap().ino();
    let root = Head::new(b'5', "./").mode(0o2751).owner(3, 4);
    let records = [("mtime", "1000000000.5"), ("SCHILY.xattr.user.root", "yes")];
    let archive = Tar::new()
        .pax(&records)
        .head(root)
        .dir("etc")
        .file("etc/passwd", "root")
        .end();
    unpack_archive(&archive[..], &ours, &Limits::default()).unwrap();
    assert_eq!(fs::metadata(&ours).unwrap().ino(), inode);
    let path = dir.path().join("archive");
    fs::write(&path, &archive).unwrap();
    gnu_tar(&path, &theirs);
    assert_same(&ours, &theirs);
    let again = unpack_archive(&archive[..], &ours, &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(
        again.contains("is not empty: it contains \"etc\""),
        "{again}"
    );
    // What only looks as if an attempt had left it is somebody's.
    let (kept, others) = (
        dir.path().join("kept"),
        dir.path().join("kept/.unpacking-notes"),
    );
    fs::create_dir_all(&others).unwrap();
    unpack_archive(&archive[..], &kept, &Limits::default()).unwrap_err();
    assert!(others.exists());
    // A directory beside it that was left by a killed attempt goes too.
    let left = dir.path().join(".new.unpacking-4711-0");
    fs::create_dir_all(left.join("etc")).unwrap();
    unpack_archive(&archive[..], &dir.path().join("new"), &Limits::default()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_directory_keeps_what_it_has_where_the_archive_says_nothing_of_its_root() {
    require_root();
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours");
    fs::create_dir(&ours).unwrap();
    std::os::unix::fs::chown(&ours, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o2700)).unwrap();
    let archive = Tar::new().file("file", "x").end();
    unpack_archive(&archive[..], &ours, &Limits::default()).unwrap();
    let about = fs::metadata(&ours).unwrap();
    assert_eq!((about.uid(), about.gid()), (1000, 1000));
    assert_eq!(about.mode() & 0o7777, 0o2700);
    assert!(ours.join("file").exists());
}
