//! Resumed downloads: by another process, from another mirror, or not at all.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use box_tests::server::{Response, Server};
use box_tests::{Home, Outcome};

use crate::release::{PULL, bytes, hex, is_empty, is_whole, partial, rest, size, tarball, whole};

const BROKEN_AT: u64 = 1_500_000;

/// A server that stops sending in the middle of the tarball and keeps the connection open.
fn stalling() -> Server {
    Server::scripted(|request, _| {
        (request.path == tarball()).then(|| whole().stall_after(BROKEN_AT))
    })
}

/// Starts a pull and waits until it has received everything that a stalling server sends.
fn start(home: &Home) -> Child {
    let pull = home.command(["pull", "alpine:3.20", "--stall-timeout", "60"]);
    // A job in the background of a script ignores Control-C, and so would all that it starts.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(pull.get_program())
        .args(pull.get_args());
    for (name, value) in pull.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = pull.get_current_dir() {
        command.current_dir(directory);
    }
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while on_disk(home) < BROKEN_AT {
        assert!(child.try_wait().unwrap().is_none(), "the pull has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn on_disk(home: &Home) -> u64 {
    partial(home)
        .iter()
        .map(|path| path.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

/// A home whose pull was killed in the middle.
fn killed_home() -> Home {
    let server = stalling();
    let home = Home::with_mirror(&server.url());
    let mut child = start(&home);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(on_disk(&home), BROKEN_AT);
    is_empty(&home);
    home
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    let requests = server
        .requests()
        .into_iter()
        .filter(|r| r.path == tarball());
    requests
        .map(|r| r.header("range").map(str::to_owned))
        .collect()
}

#[test]
fn a_killed_pull_is_continued_by_the_next_process_from_another_mirror() {
    let mut home = killed_home();
    let server = Server::mirror();
    home.set_mirror(&server.url());
    let report = home
        .run(["pull", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(report["downloaded"], size() - BROKEN_AT);
    assert_eq!(ranges(&server), [Some(format!("bytes={BROKEN_AT}-"))]);
    is_whole(&home);
}

#[test]
fn ctrl_c_leaves_what_was_fetched() {
    let server = stalling();
    let mut home = Home::with_mirror(&server.url());
    let mut child = start(&home);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(!child.wait().unwrap().success());
    drop(server);
    let server = Server::mirror();
    home.set_mirror(&server.url());
    home.run(PULL).succeeds();
    assert_eq!(ranges(&server), [Some(format!("bytes={BROKEN_AT}-"))]);
    is_whole(&home);
}

#[test]
fn the_next_mirror_of_the_list_continues() {
    let first = Server::scripted(|request, nth| {
        (request.path == tarball()).then(|| match nth {
            0 => whole().drop_after(BROKEN_AT),
            _ => Response::status(404),
        })
    });
    let second = Server::mirror();
    let home = Home::with_mirror(&format!("{},{}", first.url(), second.url()));
    home.run(PULL).succeeds();
    assert!(ranges(&second)[0].is_some());
    // Another server's validator says nothing about this one's file.
    let asked = second
        .requests()
        .into_iter()
        .find(|r| r.path == tarball())
        .unwrap();
    assert_eq!(asked.header("if-range"), None);
    is_whole(&home);
}

#[test]
fn a_local_mirror_continues_too() {
    let mut home = killed_home();
    home.set_mirror(&box_tests::Mirror::get().url());
    let report = home
        .run(["pull", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(report["downloaded"], size() - BROKEN_AT);
    is_whole(&home);
}

#[test]
fn a_server_that_ignores_ranges_sends_all_again() {
    let mut home = killed_home();
    let server = Server::scripted(|request, _| (request.path == tarball()).then(whole));
    home.set_mirror(&server.url());
    let report = home
        .run(["pull", "alpine:3.20", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(report["downloaded"], size());
    is_whole(&home);
}

#[test]
fn a_range_that_cannot_be_had_starts_over() {
    let mut home = killed_home();
    let server = Server::scripted(|request, _| {
        (request.path == tarball() && request.header("range").is_some())
            .then(|| Response::status(416))
    });
    home.set_mirror(&server.url());
    home.run(PULL).succeeds();
    assert_eq!(ranges(&server).len(), 2);
    is_whole(&home);
}

#[test]
fn another_range_than_asked_for_is_refused() {
    let mut home = killed_home();
    let server =
        Server::scripted(|request, _| (request.path == tarball()).then(|| rest(BROKEN_AT - 1)));
    home.set_mirror(&server.url());
    home.run(PULL).fails(&["invalid answer", "Content-Range"]);
    is_empty(&home);
}

#[test]
fn damage_on_disk_between_two_tries_is_found_and_everything_fetched_anew() {
    let mut home = killed_home();
    let path = &partial(&home)[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[12_345] ^= 1;
    fs::write(path, bytes).unwrap();
    let server = Server::mirror();
    home.set_mirror(&server.url());
    let outcome = home.run(PULL).succeeds();
    assert!(
        outcome.stderr.contains("the parts do not fit together"),
        "{}",
        outcome.stderr
    );
    assert_eq!(ranges(&server), [Some(format!("bytes={BROKEN_AT}-")), None]);
    is_whole(&home);
}

#[test]
fn a_file_that_changes_between_two_ranges_is_noticed() {
    // By its validator: the server sends the new file whole, and it is not the one in the list.
    let server = Server::scripted(|request, nth| {
        (request.path == tarball()).then(|| match nth {
            0 => whole().drop_after(BROKEN_AT),
            _ => whole().header("ETag", "\"two\"").corrupt_at(5),
        })
    });
    let home = Home::with_mirror(&server.url());
    home.run(PULL).fails(&["wrong content"]);
    is_empty(&home);
    // By its digest, where the server mixes both: then once more from the start.
    let server = Server::scripted(|request, nth| {
        (request.path == tarball()).then(|| match nth {
            0 => whole().drop_after(BROKEN_AT),
            1 => rest(BROKEN_AT).corrupt_at(5),
            _ => whole(),
        })
    });
    let home = Home::with_mirror(&server.url());
    home.run(PULL).succeeds();
    is_whole(&home);
}

#[test]
fn more_on_disk_than_there_should_be_is_thrown_away() {
    let mut home = killed_home();
    let path = &partial(&home)[0];
    fs::write(path, vec![0; usize::try_from(size()).unwrap() + 1]).unwrap();
    home.set_mirror(&Server::mirror().url());
    let server = Server::mirror();
    home.set_mirror(&server.url());
    home.run(PULL).succeeds();
    assert_eq!(ranges(&server), [None]);
    is_whole(&home);
}

#[test]
fn a_download_that_was_complete_needs_no_server() {
    let mut home = killed_home();
    fs::write(&partial(&home)[0], crate::release::bytes()).unwrap();
    let server = Server::mirror();
    home.set_mirror(&server.url());
    home.run(PULL).succeeds();
    assert!(ranges(&server).is_empty());
    is_whole(&home);
}

#[test]
fn a_user_continues_what_was_killed_when_it_had_a_blobs_mode_and_not_yet_its_name() {
    const NOBODY: u32 = 65_534;
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    let cache = home.path().join("of-a-user");
    let partial = cache.join("partial");
    fs::create_dir_all(&partial).unwrap();
    let file = partial.join(format!("sha256-{}", hex(&bytes())));
    fs::write(&file, bytes()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&cache, &partial, &file] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = home.command(["pull", "alpine:3.20", "--cache"]);
    command.arg(&cache).uid(NOBODY).gid(NOBODY);
    Outcome::of(command, b"").succeeds();
    assert!(!server.paths().contains(&tarball()), "{:?}", server.paths());
    let blob = cache.join("blobs/sha256").join(hex(&bytes()));
    assert_eq!(blob.metadata().unwrap().mode() & 0o7777, 0o444);
}
