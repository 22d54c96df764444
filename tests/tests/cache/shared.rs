//! A cache that others can see, or write to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use box_tests::{Home, Outcome, behind};

/// Every file and directory there with its permissions; those of links mean nothing.
fn modes(directory: &Path, found: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.push((
            path.display().to_string(),
            metadata.permissions().mode() & 0o7777,
        ));
        if metadata.is_dir() {
            modes(&path, found);
        }
    }
}

#[test]
fn a_lax_umask_lets_nobody_write() {
    let home = Home::new();
    for arguments in [
        &["pull", "-q", "alpine:3.20"][..],
        &["lock", "alpine:3.20"],
        &["inspect", "alpine:3.20"],
        &["verify"],
        &["run", "--name", "kept", "alpine:3.20", "true"],
    ] {
        let lax = behind("umask 0; exec \"$@\"", &home.command(arguments));
        Outcome::of(lax, b"").succeeds();
    }
    let mut found = Vec::new();
    modes(&home.cache(), &mut found);
    modes(&home.root().join("instances"), &mut found);
    for name in ["locks/gc", "partial", "used", "pins", "index.json"] {
        let path = home.cache().join(name).display().to_string();
        assert!(
            found.iter().any(|(found, _)| *found == path),
            "{name}: {found:?}"
        );
    }
    found.retain(|(_, mode)| mode & 0o022 != 0);
    assert!(found.is_empty(), "{found:?}");
    for (directory, expected) in [
        (home.root(), 0o700),
        (home.cache(), 0o700),
        (home.cache().join("locks"), 0o700),
        (home.root().join("instances"), 0o700),
    ] {
        let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{}", directory.display());
    }
}

#[test]
fn a_link_in_the_place_of_a_directory_is_an_error() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.18"]).succeeds();
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let partial = home.cache().join("partial");
    fs::remove_dir(&partial).unwrap();
    symlink(&elsewhere, &partial).unwrap();
    home.run(["pull", "-q", "alpine:3.20"])
        .fails(&["/partial", "a symbolic link is on the path"]);
    home.run(["rmi", "alpine:3.18"])
        .fails(&["/partial", "a symbolic link is on the path"]);
    assert!(crate::check::names(&elsewhere).is_empty());
}

const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_an_older_box_left_open_is_closed() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    for open in [0o755, 0o777, 0o2775] {
        set_mode(&home.root(), open);
        home.run(["images"]).succeeds();
        assert_eq!(mode(&home.root()), 0o700);
    }
    // An empty directory was made for box.
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    set_mode(&empty, 0o755);
    home.run([
        "--root",
        empty.to_str().unwrap(),
        "pull",
        "-q",
        "alpine:3.20",
    ])
    .succeeds();
    assert_eq!(mode(&empty), 0o700);
    // What is running, where that has a place of its own.
    let run = home.path().join("running/box");
    fs::create_dir_all(&run).unwrap();
    set_mode(&run, 0o755);
    let mut command = home.command(["ps"]);
    command.env("BOX_RUN", &run);
    Outcome::of(command, b"").succeeds();
    assert_eq!(mode(&run), 0o700);
}

#[test]
fn a_directory_of_many_things_keeps_its_mode_and_box_closes_its_own_in_it() {
    let home = Home::new();
    let srv = home.path().join("srv");
    fs::create_dir_all(srv.join("www")).unwrap();
    set_mode(&srv, 0o755);
    let root = ["--root", srv.to_str().unwrap()];
    let run = ["run", "--name", "kept", "alpine:3.20", "true"];
    home.run(root.iter().chain(&run)).succeeds();
    assert_eq!(mode(&srv), 0o755);
    for own in ["cache", "layers", "instances", "run"] {
        assert_eq!(mode(&srv.join(own)), 0o700, "{own}");
    }
    set_mode(&srv.join("cache"), 0o755);
    home.run(root.iter().chain(&["images"])).succeeds();
    assert_eq!(mode(&srv.join("cache")), 0o700);
    // Not one of something else.
    let var = home.path().join("var");
    fs::create_dir_all(var.join("cache/apt")).unwrap();
    fs::create_dir(var.join("log")).unwrap();
    for path in [&var, &var.join("cache")] {
        set_mode(path, 0o755);
    }
    home.run(["--root", var.to_str().unwrap(), "images"])
        .succeeds();
    assert_eq!((mode(&var), mode(&var.join("cache"))), (0o755, 0o755));
    // Where others can put things, nothing is kept.
    for open in [0o1777, 0o777, 0o775] {
        set_mode(&srv, open);
        home.run(root.iter().chain(&["images"]))
            .fails(&["the root directory", "is writable by other users"])
            .hints(&["--root DIR"]);
        assert_eq!(mode(&srv), open);
    }
    // Things that others put into a directory that was open are not taken for box's own.
    let planted = home.path().join("planted");
    fs::create_dir_all(planted.join("layers")).unwrap();
    chown(planted.join("layers"), Some(NOBODY), None).unwrap();
    set_mode(&planted, 0o777);
    home.run(["--root", planted.to_str().unwrap(), "images"])
        .fails(&["is writable by other users"]);
}

#[test]
fn a_cache_that_was_opened_on_purpose_stays_open_whatever_the_umask() {
    let home = Home::new();
    let cache = home.path().join("shared");
    fs::create_dir(&cache).unwrap();
    set_mode(home.path(), 0o755);
    set_mode(&cache, 0o755);
    let there = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("BOX_CACHE", &cache);
        command
    };
    for args in [
        &["pull", "-q", "alpine:3.20"][..],
        &["pull", "-q", "alpine:3.18"],
        &["run", "--rm", "alpine:3.20", "true"],
        &["lock", "alpine:3.18"],
    ] {
        Outcome::of(behind("umask 077; exec \"$@\"", &there(args)), b"").succeeds();
    }
    assert_eq!(mode(&cache), 0o755);
    let mut list = there(&["--root", "/nonexistent/box", "images", "-q"]);
    list.uid(NOBODY).gid(NOBODY);
    let listed = Outcome::of(list, b"").succeeds();
    assert_eq!(listed.text().lines().count(), 2, "{}", listed.stderr);
    let mut save = there(&["--root", "/nonexistent/box", "save", "alpine:3.20"]);
    save.uid(NOBODY).gid(NOBODY);
    assert!(!Outcome::of(save, b"").succeeds().stdout.is_empty());
    // One that was missing is for its owner.
    let new = home.path().join("new/cache");
    let mut pull = home.command(["pull", "-q", "alpine:3.20"]);
    pull.env("BOX_CACHE", &new);
    Outcome::of(behind("umask 0; exec \"$@\"", &pull), b"").succeeds();
    assert_eq!(mode(&new), 0o700);
}

#[test]
fn what_a_container_kept_to_itself_is_shown_to_nobody_by_its_image() {
    let home = Home::new();
    set_mode(home.path(), 0o755);
    fs::create_dir(home.root()).unwrap();
    set_mode(&home.root(), 0o755);
    let script = "umask 077; echo my-key > /root/key";
    home.run(["run", "--name", "k", "alpine:3.20", "sh", "-c", script])
        .succeeds();
    home.run(["commit", "-q", "k", "k:1"]).succeeds();
    home.run(["save", "k:1", "-o", "k.tar"]).succeeds();
    home.run(["load", "-q", "-i", "k.tar", "--name", "k:2"])
        .succeeds();
    let look = format!(
        "find {0} {0}/cache/blobs k.tar -type f -readable",
        home.root().display()
    );
    let mut find = behind(&look, &home.command(["images"]));
    find.uid(NOBODY).gid(NOBODY).current_dir(home.path());
    let found = Outcome::of(find, b"");
    assert_eq!(found.text(), "", "{found:?}");
}
