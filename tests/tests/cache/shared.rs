//! A cache that others can see, or write to.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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
        (home.root(), 0o755),
        (home.cache(), 0o755),
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
        .fails(&["/partial", "a symbolic link is in its place"]);
    home.run(["rmi", "alpine:3.18"])
        .fails(&["/partial", "a symbolic link is in its place"]);
    assert!(crate::check::names(&elsewhere).is_empty());
}
