//! Cached images need no network.

use std::process::Command;

use box_tests::{Home, Outcome};

#[test]
fn what_is_cached_works_and_what_is_not_is_told() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    home.run(["run", "--rm", "--offline", "alpine:3.20", "true"])
        .succeeds();
    home.run(["run", "--rm", "--offline", "alpine:3.18", "true"])
        .fails(&["alpine:3.18", "alpine:3.20"]);
    let mut command = home.command(["pull", "alpine:3.18"]);
    command.env("BOX_OFFLINE", "1");
    Outcome::of(command, b"").fails(&["alpine:3.18", "alpine:3.20"]);
}

#[test]
fn a_mirror_that_is_down_does_not_matter_for_what_is_cached() {
    let mut home = Home::with_alpine();
    home.set_mirror("http://127.0.0.1:9");
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    home.run(["run", "--rm", "alpine:3.18", "true"])
        .fails(&["127.0.0.1:9"]);
    home.run(["run", "--rm", "--pull", "never", "alpine:3.18", "true"])
        .fails(&["alpine:3.18"]);
    home.run(["run", "--rm", "--pull", "newer", "alpine", "true"])
        .succeeds();
    home.run(["run", "--rm", "--pull", "always", "alpine", "true"])
        .fails(&["127.0.0.1:9"]);
}

#[test]
fn no_socket_is_opened_for_a_cached_image() {
    let mut home = Home::with_alpine();
    home.set_mirror("http://127.0.0.1:9");
    let strace = |args: &[&str]| {
        let command = home.command(args);
        let mut traced = Command::new("strace");
        traced
            .args([
                "-f",
                "-e",
                "trace=socket,connect,clone,clone3,fork,vfork",
                "-o",
            ])
            .arg(home.path().join("trace"))
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        Outcome::of(traced, b"").succeeds();
        std::fs::read_to_string(home.path().join("trace")).unwrap()
    };
    for args in [
        &["run", "--rm", "alpine", "true"][..],
        &["run", "--rm", "--offline", "alpine", "true"],
    ] {
        let trace = strace(args);
        assert!(!trace.contains("socket("), "{trace}");
        assert!(!trace.contains("CLONE_THREAD"), "{trace}");
    }
}
