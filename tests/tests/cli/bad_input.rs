//! Bad input: one error line, a hint if there is a remedy, status 125, and no data lost.

use std::fs;
use std::path::Path;

use box_tests::server::{Response, Server};
use box_tests::{Home, Mirror, Outcome};

/// All names and blobs in the cache, with their bytes.
fn snapshot(home: &Home) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "index.json".to_owned(),
        fs::read(home.cache().join("index.json")).unwrap_or_default(),
    )];
    if let Ok(blobs) = fs::read_dir(home.cache().join("blobs/sha256")) {
        for blob in blobs {
            let path = blob.unwrap().path();
            files.push((
                path.to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            ));
        }
    }
    files.sort();
    files
}

/// Does something that fails, in a home with `alpine:3.18`, and checks that the cache is unchanged.
fn harmless(mirror: &str, doing: impl Fn(&Home) -> Outcome) {
    let mut home = Home::new();
    home.run(["pull", "-q", "alpine:3.18"]).succeeds();
    home.set_mirror(mirror);
    let before = snapshot(&home);
    doing(&home);
    assert!(snapshot(&home) == before, "the cache has changed");
    home.run(["run", "--rm", "--offline", "alpine:3.18", "true"])
        .succeeds();
    assert!(home.instances().is_empty());
    let layers: Vec<_> = fs::read_dir(home.root().join("layers"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    let trees = layers.iter().filter(|name| name.len() == 64).count();
    assert_eq!(trees, 1, "half-made layers: {layers:?}");
}

/// A copy of the mirror in which one file of the release 3.20.3 is changed.
fn spoiled(home: &Path, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let mirror = Mirror::get().copy_to(home);
    let path = mirror.releases("3.20.3").join(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, change(bytes)).unwrap();
    mirror.url()
}

fn tarball() -> String {
    format!("alpine-minirootfs-3.20.3-{}.tar.gz", std::env::consts::ARCH)
}

#[test]
fn unknown_branches_versions_and_architectures() {
    let url = Mirror::get().url();
    harmless(&url, |home| {
        home.run(["pull", "alpine:9.99"])
            .fails(&["9.99", "3.18", "3.20"]);
        home.run(["pull", "alpine:3.20.99"])
            .fails(&["3.20.99", "3.20.3"]);
        home.run(["pull", "--arch", "s390x", "alpine:3.20"])
            .fails(&["s390x"]);
        home.run(["pull", "alpine:nonsense"]).fails(&["nonsense"]);
        home.run(["pull", "debian"]).fails(&["debian"])
    });
    let server = Server::mirror();
    harmless(&server.url(), |home| {
        home.run(["run", "--rm", "alpine:9.99"])
            .fails(&["9.99", "3.18", "3.20"])
    });
}

#[test]
fn nobody_answers() {
    harmless("http://127.0.0.1:9", |home| {
        home.run(["run", "--rm", "alpine:3.20"])
            .fails(&["http://127.0.0.1:9", "refused"])
    });
    harmless("http://no-such-host.invalid", |home| {
        home.run(["pull", "alpine:3.20"])
            .fails(&["no-such-host.invalid"])
    });
    harmless("ftp://127.0.0.1", |home| {
        home.run(["pull", "alpine:3.20"]).fails(&["ftp"])
    });
    harmless("file:///no/such/mirror", |home| {
        home.run(["pull", "alpine:3.20"])
            .fails(&["/no/such/mirror"])
    });
}

#[test]
fn no_tls_where_tls_is_promised() {
    let server = Server::mirror();
    let url = server.url().replace("http://", "https://");
    harmless(&url, |home| {
        home.run(["pull", "alpine:3.20"]).fails(&[&url])
    });
}

#[test]
fn a_file_that_is_not_there() {
    let server = Server::new(|request| match request.path.ends_with(".yaml") {
        true => Response::new(
            fs::read(
                Mirror::get()
                    .releases("3.20.3")
                    .join("latest-releases.yaml"),
            )
            .unwrap(),
        ),
        false => Response::status(404),
    });
    harmless(&server.url(), |home| {
        home.run(["pull", "alpine:3.20"])
            .fails(&["not found", &tarball()])
    });
}

#[test]
fn wrong_bytes() {
    let place = tempfile::tempdir().unwrap();
    let flipped = |mut bytes: Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        bytes
    };
    let spoil = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        spoiled(&dir, &tarball(), change)
    };
    harmless(&spoil("flipped", &flipped), |home| {
        home.run(["run", "--rm", "alpine:3.20"])
            .fails(&["sha256", "expected", &tarball()])
    });
    let truncated = |bytes: Vec<u8>| bytes[..bytes.len() - 1000].to_vec();
    harmless(&spoil("truncated", &truncated), |home| {
        home.run(["pull", "alpine:3.20"])
            .fails(&[&tarball(), "expected"])
    });
    let longer = |mut bytes: Vec<u8>| {
        bytes.extend([0; 1000]);
        bytes
    };
    harmless(&spoil("longer", &longer), |home| {
        home.run(["pull", "alpine:3.20"]).fails(&[&tarball()])
    });
}

#[test]
fn wrong_sums_in_the_list() {
    for field in ["sha256", "sha512"] {
        let place = tempfile::tempdir().unwrap();
        let url = spoiled(place.path(), "latest-releases.yaml", |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let at = text.find("flavor: alpine-minirootfs").unwrap();
            let at = at + text[at..].find(&format!("{field}: ")).unwrap() + field.len() + 2;
            let digit = if &text[at..=at] == "0" { "1" } else { "0" };
            format!("{}{digit}{}", &text[..at], &text[at + 1..]).into_bytes()
        });
        harmless(&url, |home| {
            home.run(["pull", "alpine:3.20"])
                .fails(&[field, "expected"])
        });
    }
}

#[test]
fn a_list_that_is_none() {
    for (name, text) in [
        ("yaml", "---\n- [unclosed\n  flavor: {"),
        (
            "html",
            "<!DOCTYPE html><html><body>Log in to the hotel network</body></html>",
        ),
        ("empty", ""),
        ("other", "- flavor: alpine-virt\n  version: 3.20.3\n"),
        ("binary", "\x1b[31m\0\0\x07"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let url = spoiled(place.path(), "latest-releases.yaml", |_| {
            text.as_bytes().to_vec()
        });
        harmless(&url, |home| {
            let outcome = home.run(["pull", "alpine:3.20"]);
            assert_eq!(outcome.status, 125, "{name}: {}", outcome.stderr);
            outcome.fails(&["latest-releases.yaml"])
        });
    }
    let server = Server::new(|_| {
        Response::new(b"<html>\x1b[2JLog in</html>").header("Content-Type", "text/html")
    });
    harmless(&server.url(), |home| {
        home.run(["pull", "alpine:3.20"]).fails(&["HTML"])
    });
}

#[test]
fn a_full_disk() {
    let home = Home::new();
    let small = home.path().join("small");
    fs::create_dir(&small).unwrap();
    mount_tmpfs(&small, "2m");
    let root = small.join("root");
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("BOX_ROOT", &root);
        Outcome::of(command, b"")
    };
    run(&["run", "--rm", "alpine:3.20", "true"])
        .fails(&["no space left"])
        .hints(&["space"]);
    run(&["images"]).succeeds();
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::empty()).unwrap();
    home.run(["run", "--rm", "alpine:3.20", "true"]).succeeds();
}

#[test]
fn a_cache_that_is_not_writable() {
    let home = Home::new();
    let dir = home.path().join("sealed");
    fs::create_dir(&dir).unwrap();
    mount_tmpfs(&dir, "1m,ro");
    let cache = dir.join("cache");
    home.run(["pull", "--cache", cache.to_str().unwrap(), "alpine:3.20"])
        .fails(&[cache.to_str().unwrap(), "read-only file system"])
        .hints(&["--cache"]);
    home.run(["images", "--cache", cache.to_str().unwrap()])
        .succeeds();
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::empty()).unwrap();
    let file = home.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    home.run(["pull", "--cache", file.to_str().unwrap(), "alpine:3.20"])
        .fails(&[file.to_str().unwrap()]);
}

#[test]
fn a_cached_image_works_on_a_read_only_cache() {
    let home = Home::with_alpine();
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    let cache = home.cache();
    rustix::mount::mount_bind(&cache, &cache).unwrap();
    rustix::mount::mount_remount(
        &cache,
        rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY,
        "",
    )
    .unwrap();
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    rustix::mount::unmount(&cache, rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn somebody_who_is_not_root() {
    let home = Home::with_alpine();
    let run = |args: &[&str]| {
        let command = home.command(args);
        let mut other = std::process::Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        other.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                other.env(name, value);
            }
        }
        other.env("BOX_ROOT", "/nonexistent/box");
        Outcome::of(other, b"")
    };
    run(&["run", "alpine"])
        .fails(&["root", "65534"])
        .hints(&["sudo"]);
    run(&["start", "x"]).fails(&["root"]).hints(&["sudo"]);
    run(&["unpack", "alpine", "/tmp/x"])
        .fails(&["root"])
        .hints(&["sudo"]);
    run(&["images"]).succeeds();
    run(&["version"]).succeeds();
    run(&["pull", "alpine"])
        .fails(&["/nonexistent/box"])
        .hints(&["--root"]);
}

#[test]
fn a_damaged_cache() {
    let home = Home::with_alpine();
    fs::write(home.cache().join("index.json"), "{ not json").unwrap();
    home.run(["images"]).fails(&["index.json"]);
    home.run(["run", "--rm", "alpine", "true"])
        .fails(&["index.json"]);
    let other = home.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(
        other.join("oci-layout"),
        "{\"imageLayoutVersion\": \"9.0.0\"}",
    )
    .unwrap();
    home.run(["pull", "--cache", other.to_str().unwrap(), "alpine"])
        .fails(&["9.0.0", "1.0.0"]);
}

#[test]
fn a_server_that_fails() {
    let server = Server::new(move |request| match request.path.ends_with(".yaml") {
        true => Response::new(
            fs::read(
                Mirror::get()
                    .releases("3.20.3")
                    .join("latest-releases.yaml"),
            )
            .unwrap(),
        ),
        false => Response::status(403),
    });
    harmless(&server.url(), |home| {
        home.run(["pull", "alpine:3.20"])
            .fails(&["403", &tarball()])
    });
}

fn mount_tmpfs(dir: &Path, options: &str) {
    let options = format!("size={options}");
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "mount a tmpfs on {}: {status}",
        dir.display()
    );
}
