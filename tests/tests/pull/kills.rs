//! Kills a pull at any moment: the next command works.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use box_tests::Home;
use box_tests::server::Server;

use crate::release::{blobs, hex, is_whole, partial};

/// How many processes are killed.
const KILLS: u64 = 210;

fn start(home: &Home, args: &[&str]) -> Child {
    let mut command = home.command(args);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Every blob matches its name, and everything that is listed exists.
#[track_caller]
fn is_sound(home: &Home) {
    for entry in fs::read_dir(blobs(home)).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(hex(&fs::read(&path).unwrap()), name);
    }
    home.run(["verify"]).succeeds();
}

#[test]
fn kills_at_random_moments_leave_a_sound_cache() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    // Moments spread evenly over a little more than a pull takes, in an order without pattern.
    let mut moment = 7_u64;
    let mut kill = |children: Vec<Child>| {
        for mut child in children {
            moment = (moment * 48_271) % 2_147_483_647;
            std::thread::sleep(Duration::from_micros(moment % 120_000));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    };
    for round in 0..KILLS / 3 {
        match round % 3 {
            0 => kill(vec![
                start(&home, &["pull", "alpine:3.20"]),
                start(&home, &["pull", "alpine:3.18"]),
                start(&home, &["gc"]),
            ]),
            1 => kill(vec![
                start(&home, &["pull", "alpine:3.20"]),
                start(&home, &["pull", "alpine"]),
                start(&home, &["pull", "alpine:3.20"]),
            ]),
            _ => kill(vec![
                start(&home, &["pull", "alpine:3.18"]),
                start(&home, &["rmi", "alpine:3.18", "alpine"]),
                start(&home, &["gc"]),
            ]),
        }
        if round % 10 == 9 {
            is_sound(&home);
            home.run(["rmi", "-f", "alpine:3.20", "alpine:3.18", "alpine"]);
            home.run(["gc"]).succeeds();
        }
    }
    is_sound(&home);
    home.run(["pull", "alpine:3.20"]).succeeds();
    home.run(["pull", "alpine:3.18"]).succeeds();
    // Only what others may still continue stays.
    let left: BTreeSet<_> = partial(&home).into_iter().collect();
    assert!(left.is_empty(), "{left:?}");
    is_whole(&home);
    home.run(["gc"]).succeeds();
    is_sound(&home);
}
