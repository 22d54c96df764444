//! The limit of processes of a container, and pausing all of them.

use std::process::Command;
use std::time::Duration;

use box_tests::Home;

use crate::{Background, group_file, name};

#[test]
fn the_pids_limit_is_4096_or_what_was_asked_for() {
    let home = Home::with_alpine();
    let pids = |flags: &[&str]| group_file(&home, flags, "pids/pids.max", "pids.max");
    assert_eq!(pids(&[]), "4096");
    assert_eq!(pids(&["--pids-limit", "17"]), "17");
    assert_eq!(pids(&["--pids-limit", "-1"]), "max");
    let script = "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done";
    let refused = home.run([
        "run",
        "--rm",
        "--pids-limit",
        "20",
        "alpine",
        "sh",
        "-c",
        script,
    ]);
    assert!(refused.stderr.contains("fork"), "{}", refused.stderr);
    assert_ne!(refused.status, 0);
}

#[test]
fn a_fork_bomb_in_a_plain_container_ends_with_eagain_and_leaves_the_host_responsive() {
    let home = Home::with_alpine();
    let name = name("bomb");
    let told = home.path().join("told");
    std::fs::create_dir(&told).unwrap();
    let volume = format!("{}:/told", told.display());
    let bomb = "exec 2>/told/errors; b() { b | b & }; b; exec sleep 1000";
    let running = Background::start(&home, &name, &["-v", &volume], bomb);
    running.until("it has nearly all the processes it may have", || {
        running.stats()["pids"].as_u64() >= Some(4000)
    });
    running.until("the shell reports that it cannot fork", || {
        let told = std::fs::read(told.join("errors")).unwrap();
        String::from_utf8_lossy(&told).contains("can't fork: Resource temporarily unavailable")
    });
    // The host still makes processes, and so does another container.
    assert!(Command::new("true").status().unwrap().success());
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    let stats = running.stats();
    assert!(stats["pids"].as_u64() <= Some(4096), "{stats}");
    assert_eq!(stats["pids_limit"].as_u64(), Some(4096));
    // Dropping it kills thousands of processes that fork as fast as they can, and looks that nothing is left.
}

#[test]
fn a_paused_container_does_nothing_until_it_is_unpaused() {
    let home = Home::with_alpine();
    let name = name("paused");
    let count = home.path().join("count");
    std::fs::create_dir(&count).unwrap();
    let volume = format!("{}:/count", count.display());
    let running = Background::start(
        &home,
        &name,
        &["-v", &volume],
        "while :; do echo . >>/count/file; done",
    );
    let size = || std::fs::metadata(count.join("file")).map_or(0, |file| file.len());
    running.until("it counts", || size() > 0);
    home.run(["pause", &name]).succeeds();
    assert_eq!(running.status(), "paused");
    let frozen = size();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(size(), frozen);
    home.run(["unpause", &name]).succeeds();
    assert_eq!(running.status(), "running");
    running.until("it counts again", || size() > frozen);
    // A paused container can be removed, too.
    home.run(["pause", &name]).succeeds();
}
