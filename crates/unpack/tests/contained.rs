//! Archives that try to reach the outside with what a file system may well hold: they unpack, and all of it stays
//! inside.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use box_unpack::{Limits, unpack_archive};
use support::archive::{Head, Tar};
use support::arena::{Arena, WAYS, Way};
use support::require_root;

/// Unpacks in every way, looks at the result, and at the outside.
fn assert_contained(name: &str, archive: impl Fn(&Path) -> Tar, look: impl Fn(&Path, &Path)) {
    require_root();
    for way in WAYS {
        contained(name, way, &archive, &look);
    }
}

fn contained(name: &str, way: Way, archive: &impl Fn(&Path) -> Tar, look: &impl Fn(&Path, &Path)) {
    let arena = Arena::new(way);
    let outside = arena.outside();
    let unpacked = match arena.unpack(&archive(&outside).end(), &Limits::default()) {
        Ok(unpacked) => unpacked,
        Err(error) => panic!("{name}, {way:?}: {error}"),
    };
    look(&unpacked, &outside);
    arena.assert_surroundings_untouched(name, &unpacked);
}

/// Where an absolute path of the outside is, seen from a root.
fn inside(root: &Path, outside: &Path) -> std::path::PathBuf {
    root.join(outside.strip_prefix("/").unwrap())
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[test]
fn an_absolute_link_leads_to_a_place_inside() {
    assert_contained(
        "absolute link",
        |outside| {
            let there = &bytes(outside)[1..];
            Tar::new()
                .dir(there)
                .symlink("l", bytes(outside))
                .file("l/secret", "inside")
                .dir("l/directory")
        },
        |root, outside| {
            assert_eq!(
                fs::read(inside(root, outside).join("secret")).unwrap(),
                b"inside"
            );
            assert!(inside(root, outside).join("directory").is_dir());
        },
    );
}

#[test]
fn a_relative_link_stops_at_the_root() {
    assert_contained(
        "relative link",
        |_| {
            let up = "../".repeat(20);
            Tar::new()
                .dir("outside")
                .symlink("a/l", format!("{up}outside"))
                .file("a/l/secret", "inside")
        },
        |root, _| assert_eq!(fs::read(root.join("outside/secret")).unwrap(), b"inside"),
    );
}

#[test]
fn a_link_is_replaced_not_written_through() {
    assert_contained(
        "file over a link",
        |outside| {
            let secret = outside.join("secret");
            Tar::new()
                .symlink("f", bytes(&secret))
                .with(Head::new(b'0', "f").mode(0o777).owner(5, 6), "new")
        },
        |root, _| {
            assert!(fs::symlink_metadata(root.join("f")).unwrap().is_file());
            assert_eq!(fs::read(root.join("f")).unwrap(), b"new");
        },
    );
    assert_contained(
        "directory over a link",
        |outside| {
            let directory = Head::new(b'5', "d").mode(0o777).owner(5, 6);
            Tar::new()
                .symlink("d", bytes(outside))
                .head(directory)
                .file("d/secret", "inside")
        },
        |root, _| assert_eq!(fs::read(root.join("d/secret")).unwrap(), b"inside"),
    );
    assert_contained(
        "link over a link",
        |outside| {
            Tar::new()
                .symlink("l", bytes(outside))
                .symlink("l", bytes(&outside.join("directory")))
        },
        |root, outside| {
            assert_eq!(
                fs::read_link(root.join("l")).unwrap(),
                outside.join("directory")
            )
        },
    );
    assert_contained(
        "fifo and device over a link",
        |outside| {
            let secret = outside.join("secret");
            Tar::new()
                .symlink("p", bytes(&secret))
                .fifo("p")
                .symlink("n", bytes(&secret))
                .head(Head::new(b'3', "n").device(1, 3).mode(0o6777).owner(5, 6))
        },
        |_, _| {},
    );
}

#[test]
fn a_hard_link_to_a_link_is_that_link() {
    assert_contained(
        "hard link to a link",
        |outside| {
            let secret = outside.join("secret");
            Tar::new()
                .symlink("l", bytes(&secret))
                .hard_link("h", "l")
                .file("h", "new")
        },
        |root, outside| {
            assert_eq!(fs::read(root.join("h")).unwrap(), b"new");
            assert_eq!(
                fs::read_link(root.join("l")).unwrap(),
                outside.join("secret")
            );
        },
    );
}

#[test]
fn links_swapped_between_entries_are_resolved_anew() {
    assert_contained(
        "swapped",
        |outside| {
            let there = &bytes(outside)[1..];
            Tar::new()
                .dir(there)
                .dir("a")
                .symlink("l", "a")
                .file("l/first", "1")
                .symlink("l", bytes(outside))
                .file("l/secret", "2")
                .dir("l")
                .file("l/third", "3")
        },
        |root, outside| {
            assert_eq!(fs::read(root.join("a/first")).unwrap(), b"1");
            assert_eq!(
                fs::read(inside(root, outside).join("secret")).unwrap(),
                b"2"
            );
            assert_eq!(fs::read(root.join("l/third")).unwrap(), b"3");
        },
    );
}

#[test]
fn nothing_blocks_on_a_fifo() {
    assert_contained(
        "file over a fifo",
        |_| {
            Tar::new()
                .fifo("p")
                .file("p", "content")
                .fifo("q")
                .hard_link("r", "q")
                .file("r", "x")
        },
        |root, _| assert_eq!(fs::read(root.join("p")).unwrap(), b"content"),
    );
}

#[test]
fn an_absolute_name_is_one_below_the_root() {
    assert_contained(
        "absolute name",
        |outside| {
            Tar::new()
                .file(bytes(&outside.join("secret")), "inside")
                .file("//x", "x")
        },
        |root, outside| {
            assert_eq!(
                fs::read(inside(root, outside).join("secret")).unwrap(),
                b"inside"
            );
            assert_eq!(fs::read(root.join("x")).unwrap(), b"x");
        },
    );
}

#[test]
fn a_hundred_thousand_entries_in_one_directory() {
    let archive = (0..100_000).fold(Tar::new(), |tar, n| tar.file(format!("d/{n:06}"), ""));
    require_root();
    contained(
        "many",
        Way::NewDirectory,
        &|_: &Path| archive.clone(),
        &|root, _| {
            assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 100_000);
        },
    );
}

#[test]
fn a_thousand_levels() {
    let deep = "d/".repeat(1000);
    let archive = Tar::new()
        .pax(&[("path", format!("{deep}f"))])
        .file("x", "deep");
    // Twice over: at the end another file takes the whole tree's place.
    let replaced = archive.clone().file("d", "flat");
    require_root();
    contained(
        "deep",
        Way::NewDirectory,
        &|_: &Path| archive.clone(),
        &|root, _| {
            assert_eq!(fs::read(root.join(&deep).join("f")).unwrap(), b"deep");
        },
    );
    contained(
        "deep, replaced",
        Way::Layer,
        &|_: &Path| replaced.clone(),
        &|root, _| {
            assert_eq!(fs::read(root.join("d")).unwrap(), b"flat");
        },
    );
}

#[test]
fn directories_that_are_only_implied_count_as_entries() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Tar::new()
        .file("a/b/c/d", "")
        .file("e/f/g/h", "")
        .file("e/f/g/i", "")
        .end();
    let limits = |entries| Limits {
        entries,
        ..Limits::default()
    };
    let unpack = |entries| unpack_archive(&archive[..], &dir.path().join("t"), &limits(entries));
    let refused = unpack(8).unwrap_err().to_string();
    assert!(
        refused.contains("limit entries exceeded: 9, the maximum is 8"),
        "{refused}"
    );
    assert!(!dir.path().join("t").exists());
    // What is reported is what the archive has.
    assert_eq!(unpack(9).unwrap().entries, 3);
}
