//! Starting, stopping and watching containers in the background.

use box_tests::{Home, Outcome};

use crate::{field, until, with_web};

#[test]
fn a_container_in_the_background_is_stopped_and_waited_for() {
    let home = with_web();
    assert_eq!(field(&home, "web", "status"), "running");
    let waiting = home.command(["wait", "web"]);
    let waiting = std::thread::spawn(move || Outcome::of(waiting, b""));
    // It has a handler, and ends by it.
    assert_eq!(home.run(["stop", "web"]).succeeds().text(), "web");
    assert_eq!(waiting.join().unwrap().succeeds().text(), "3");
    assert_eq!(field(&home, "web", "exit_status"), 3);
    assert_eq!(home.run(["logs", "web"]).succeeds().text(), "begun\nheard");
    // Stopping what is stopped is no mistake, nor is waiting for it.
    home.run(["stop", "web"]).succeeds();
    assert_eq!(home.run(["wait", "web"]).succeeds().text(), "3");
    home.run(["kill", "web"])
        .fails(&["web is not running", "exited (3)"]);
    // Its files are as they were, and its log goes on.
    home.run(["start", "web"]).succeeds();
    until(&home, "it has begun again", || {
        home.run(["logs", "web"])
            .succeeds()
            .text()
            .matches("begun")
            .count()
            == 2
    });
    home.run(["rm", "web"])
        .fails(&["web is running"])
        .hints(&["box stop web"]);
    assert_eq!(home.run(["rm", "-f", "web"]).succeeds().text(), "web");
    assert!(home.instances().is_empty());
}

#[test]
fn a_command_without_a_handler_is_stopped_at_once() {
    let home = Home::with_alpine();
    home.run(["run", "-d", "--name", "sleeper", "alpine", "sleep", "1000"])
        .succeeds();
    // With an hour's grace, the test would end here.
    home.run(["stop", "--time", "1h", "sleeper"]).succeeds();
    assert_eq!(field(&home, "sleeper", "exit_status"), 143);
    home.run(["start", "sleeper"]).succeeds();
    home.run(["kill", "-s", "INT", "sleeper"]).succeeds();
    assert_eq!(home.run(["wait", "sleeper"]).succeeds().text(), "130");
    home.run(["start", "sleeper"]).succeeds();
    home.run(["kill", "sleeper"]).succeeds();
    assert_eq!(field(&home, "sleeper", "exit_status"), 137);
    home.run(["rm", "sleeper"]).succeeds();
}

#[test]
fn a_handler_that_does_not_end_is_killed_after_the_grace() {
    let home = Home::with_alpine();
    let script = "trap 'echo no' TERM; echo begun; while :; do sleep 0.05; done";
    home.run(["run", "-d", "--name", "deaf", "alpine", "sh", "-c", script])
        .succeeds();
    until(&home, "it has begun", || {
        home.run(["logs", "deaf"])
            .succeeds()
            .text()
            .contains("begun")
    });
    home.run(["stop", "-t", "300ms", "deaf"]).succeeds();
    assert_eq!(field(&home, "deaf", "exit_status"), 137);
    assert_eq!(home.run(["logs", "deaf"]).succeeds().text(), "begun\nno");
    home.run(["rm", "deaf"]).succeeds();
}

#[test]
fn several_are_stopped_at_once() {
    // Each ends when all have heard the signal: one after the other, the first would wait for its whole grace.
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let home = Home::with_alpine();
    let shared = format!("{}:/shared", home.path().display());
    for verb in ["stop", "restart"] {
        for name in NAMES {
            let script = format!(
                "trap 'touch /shared/{name}' TERM; touch /shared/{name}.ready; \
                 while ! [ -e /shared/a -a -e /shared/b -a -e /shared/c -a -e /shared/d ]; do sleep 0.05; done"
            );
            home.run([
                "run", "-d", "--name", name, "-v", &shared, "alpine", "sh", "-c", &script,
            ])
            .succeeds();
        }
        crate::until(&home, "all are ready", || {
            NAMES
                .iter()
                .all(|name| home.path().join(format!("{name}.ready")).exists())
        });
        home.run([verb, "-t", "1000", "a", "b", "c", "d"])
            .succeeds();
        for name in NAMES {
            if verb == "stop" {
                assert_eq!(crate::field(&home, name, "exit_status"), 0);
            }
            std::fs::remove_file(home.path().join(name)).unwrap();
            std::fs::remove_file(home.path().join(format!("{name}.ready"))).unwrap();
        }
        home.run(["rm", "-f", "a", "b", "c", "d"]).succeeds();
    }
}

#[test]
fn stopped_with_the_signal_that_was_asked_for() {
    let home = Home::with_alpine();
    let script = "trap 'exit 7' QUIT; trap 'exit 9' TERM; trap 'exit 8' USR1; echo begun; while :; do sleep 0.05; done";
    let begun = |name: &str| {
        crate::until(&home, "the shell has begun", || {
            home.run(["logs", name]).succeeds().text().contains("begun")
        });
    };
    home.run([
        "run",
        "-d",
        "--name",
        "flag",
        "--stop-signal",
        "SIGQUIT",
        "alpine",
        "sh",
        "-c",
        script,
    ])
    .succeeds();
    begun("flag");
    home.run(["stop", "flag"]).succeeds();
    assert_eq!(crate::field(&home, "flag", "exit_status"), 7);
    home.run(["run", "--stop-signal", "NONE", "alpine", "true"])
        .fails(&["--stop-signal"]);
    // The image's own.
    home.run(["commit", "-c", "STOPSIGNAL SIGUSR1", "flag", "signal:1"])
        .succeeds();
    home.run(["run", "-d", "--name", "own", "signal:1", "sh", "-c", script])
        .succeeds();
    begun("own");
    home.run(["stop", "own"]).succeeds();
    assert_eq!(crate::field(&home, "own", "exit_status"), 8);
    home.run(["rm", "own"]).succeeds();
    home.run(["rm", "flag"]).succeeds();
}

#[test]
fn signals_reach_the_command() {
    let home = Home::with_alpine();
    let script =
        "trap 'echo usr1' USR1; trap 'exit 5' HUP; echo begun; while :; do sleep 0.05; done";
    home.run(["run", "-d", "--name", "s", "alpine", "sh", "-c", script])
        .succeeds();
    until(&home, "it has begun", || {
        home.run(["logs", "s"]).succeeds().text().contains("begun")
    });
    home.run(["kill", "-s", "SIGUSR1", "s"]).succeeds();
    until(&home, "the handler ran", || {
        home.run(["logs", "s"]).succeeds().text().contains("usr1")
    });
    home.run(["kill", "-s", "1", "s"]).succeeds();
    assert_eq!(home.run(["wait", "s"]).succeeds().text(), "5");
    home.run(["kill", "-s", "NOPE", "s"])
        .fails(&["--signal NOPE"]);
    home.run(["rm", "s"]).succeeds();
}

#[test]
fn what_cannot_be_started_is_told_and_leaves_nothing() {
    let home = Home::with_alpine();
    home.run(["run", "-d", "--name", "x", "alpine", "nonesuch"])
        .fails_with(127, &["nonesuch"]);
    home.run(["run", "-d", "--name", "x", "alpine", "/etc"])
        .fails_with(126, &["/etc"]);
    assert!(home.instances().is_empty());
    home.run(["run", "-d", "--name", "x", "alpine", "sleep", "1000"])
        .succeeds();
    home.run(["run", "-d", "--name", "x", "alpine", "true"])
        .fails(&["the name x is taken", "alpine:latest", "running"]);
    home.run(["start", "x"]).fails(&["x is running"]);
    home.run(["rm", "-f", "x"]).succeeds();
    home.run(["start", "x"]).fails(&["no container named x"]);
}

#[test]
fn one_that_goes_with_its_command_leaves_its_status_to_who_waits() {
    let home = Home::with_alpine();
    let script = "while ! [ -e /end ]; do sleep 0.05; done; exit 9";
    home.run([
        "run", "-d", "--rm", "--name", "brief", "alpine", "sh", "-c", script,
    ])
    .succeeds();
    let waiting = home.command(["wait", "brief"]);
    let waiting = std::thread::spawn(move || Outcome::of(waiting, b""));
    until(&home, "somebody waits", || {
        home.root().join("run/brief/waiters").exists()
    });
    home.run(["exec", "brief", "touch", "/end"]).succeeds();
    assert_eq!(waiting.join().unwrap().succeeds().text(), "9");
    assert!(home.instances().is_empty());
    assert_eq!(home.run(["ps", "-aq"]).succeeds().text(), "");
}

#[test]
fn pausing_and_restarting() {
    let home = with_web();
    home.run(["pause", "web"]).succeeds();
    assert_eq!(field(&home, "web", "status"), "paused");
    home.run(["exec", "web", "true"])
        .fails(&["web is not running (paused)"]);
    home.run(["unpause", "web"]).succeeds();
    assert_eq!(field(&home, "web", "status"), "running");
    let pid = field(&home, "web", "pid");
    assert_eq!(home.run(["restart", "web"]).succeeds().text(), "web");
    assert_eq!(field(&home, "web", "status"), "running");
    assert_ne!(field(&home, "web", "pid"), pid);
    // One that is paused is stopped and removed like any other.
    home.run(["pause", "web"]).succeeds();
    home.run(["stop", "-t", "5s", "web"]).succeeds();
    home.run(["start", "web"]).succeeds();
    home.run(["pause", "web"]).succeeds();
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn logs_are_followed_cut_and_dated() {
    let home = Home::with_alpine();
    let script = "for i in 1 2 3; do echo line $i; echo err $i >&2; done; while ! [ -e /go ]; do sleep 0.05; done; echo last";
    home.run([
        "run", "-d", "--name", "talker", "alpine", "sh", "-c", script,
    ])
    .succeeds();
    let following = home.command(["logs", "-f", "talker"]);
    let following = std::thread::spawn(move || Outcome::of(following, b""));
    let (out, err) = ("line 1\nline 2\nline 3", "err 1\nerr 2\nerr 3\n");
    until(&home, "it has spoken", || {
        let shown = home.run(["logs", "talker"]).succeeds();
        (shown.text(), &*shown.stderr) == (out, err)
    });
    // Which of the two streams is read first, where both have something, is not said.
    let last = home.run(["logs", "--tail", "2", "talker"]).succeeds();
    assert_eq!(last.text().lines().count() + last.stderr.lines().count(), 2);
    for none in [
        &["-n", "0"][..],
        &["--since", "2200-01-01"],
        &["--until", "1h"],
    ] {
        let mut args = vec!["logs"];
        args.extend(none);
        args.push("talker");
        let shown = home.run(args).succeeds();
        assert_eq!((shown.text(), &*shown.stderr), ("", ""), "{none:?}");
    }
    let dated = home.run(["logs", "-t", "talker"]).succeeds();
    let (time, line) = dated
        .text()
        .lines()
        .last()
        .unwrap()
        .split_once(' ')
        .unwrap();
    assert_eq!(line, "line 3");
    assert!(
        time.starts_with("20") && time.ends_with('Z') && time.len() == 30,
        "{time}"
    );
    for since in ["1h", "1h30m", "1.5h", time] {
        let shown = home
            .run(["logs", "--since", since, "-n", "all", "talker"])
            .succeeds();
        assert!(out.ends_with(shown.text()), "{since}");
        assert!(shown.text().ends_with("line 3"), "{since}");
    }
    home.run(["exec", "talker", "touch", "/go"]).succeeds();
    let followed = following.join().unwrap().succeeds();
    assert_eq!(
        (followed.text(), &*followed.stderr),
        (&*format!("{out}\nlast"), err)
    );
    home.run(["run", "--name", "front", "alpine", "true"])
        .succeeds();
    home.run(["logs", "front"])
        .fails(&["front has no log"])
        .hints(&["run -d"]);
    home.run(["logs", "--tail", "x", "front"])
        .fails(&["--tail x"]);
    home.run(["rm", "talker", "front"]).succeeds();
}

#[test]
fn binary_output_is_kept_as_it_is() {
    let home = Home::with_alpine();
    let script = "head -c 300000 /dev/urandom | tee /copy";
    home.run(["run", "-d", "--name", "b", "alpine", "sh", "-c", script])
        .succeeds();
    home.run(["wait", "b"]).succeeds();
    let kept = home.run(["logs", "b"]).succeeds().stdout;
    home.run(["cp", "b:/copy", "copy"]).succeeds();
    assert!(kept == std::fs::read(home.path().join("copy")).unwrap());
    home.run(["rm", "b"]).succeeds();
}

#[test]
fn attached_to_the_output_and_input() {
    let home = Home::with_alpine();
    home.run([
        "run",
        "-di",
        "--name",
        "echo",
        "alpine",
        "sh",
        "-c",
        "read a; echo got $a; read b; echo got $b; exit 6",
    ])
    .succeeds();
    let both = home
        .run_with_stdin(["attach", "echo"], b"one\ntwo\n")
        .exits(6);
    assert_eq!(both.text(), "got one\ngot two");
    assert_eq!(
        home.run(["logs", "echo"]).succeeds().text(),
        "got one\ngot two"
    );
    home.run(["attach", "echo"]).fails(&["echo is not running"]);
    home.run(["rm", "echo"]).succeeds();
}

#[test]
fn attached_nobody_waits_for_a_container_that_does_not_read() {
    let home = Home::with_alpine();
    // It has closed its input, or never reads it.
    for (name, first) in [("closed", "exec <&-"), ("deaf", "true")] {
        let script = format!(
            "{first}; while ! [ -e /go ]; do sleep 0.05; done; echo out; echo err >&2; exit 7"
        );
        home.run(["run", "-di", "--name", name, "alpine", "sh", "-c", &script])
            .succeeds();
        let attached = home.command(["attach", name]);
        let attached = std::thread::spawn(move || Outcome::of(attached, &[b'x'; 1 << 20]));
        until(&home, "somebody is attached", || {
            home.root().join("run").join(name).join("waiters").exists()
        });
        home.run(["exec", name, "touch", "/go"]).succeeds();
        let shown = attached.join().unwrap().exits(7);
        // What it wrote before the log was opened is not shown.
        assert!(
            "out".starts_with(shown.text()) && "err\n".starts_with(&shown.stderr),
            "{name}: {shown:?}"
        );
    }
}

#[test]
fn all_that_is_typed_arrives() {
    let home = Home::with_alpine();
    let script = "head -c 3000000 | wc -c";
    home.run([
        "run", "-di", "--name", "eater", "alpine", "sh", "-c", script,
    ])
    .succeeds();
    let typed = vec![b'x'; 3_000_000];
    let shown = home.run_with_stdin(["attach", "eater"], &typed).exits(0);
    assert_eq!(shown.text(), "3000000");
}

#[test]
fn stopped_with_any_signal_it_has_that_signals_status() {
    let home = Home::with_alpine();
    for (signal, status) in [
        ("USR1", 138),
        ("ABRT", 134),
        ("SIGRTMIN+3", 165),
        ("RTMAX", 192),
        ("KILL", 137),
        ("TERM", 143),
    ] {
        let args = ["run", "-d", "--name", "s", "--stop-signal", signal];
        let mut args = args.to_vec();
        args.extend(["alpine", "sleep", "1000"]);
        home.run(args).succeeds();
        home.run(["stop", "-t", "1h", "s"]).succeeds();
        assert_eq!(field(&home, "s", "exit_status"), status, "{signal}");
        home.run(["start", "s"]).succeeds();
        home.run(["pause", "s"]).succeeds();
        home.run(["stop", "-t", "1h", "-s", signal, "s"]).succeeds();
        assert_eq!(field(&home, "s", "exit_status"), status, "paused, {signal}");
        home.run(["rm", "s"]).succeeds();
    }
    // A handler hears it.
    let script = "trap 'exit 9' USR1; trap 'exit 8' RTMIN+2 2>/dev/null; echo begun; while :; do sleep 0.05; done";
    let args = ["run", "-d", "--name", "h", "--stop-signal", "USR1"];
    let mut args = args.to_vec();
    args.extend(["alpine", "sh", "-c", script]);
    home.run(args).succeeds();
    until(&home, "it has begun", || {
        home.run(["logs", "h"]).succeeds().text() == "begun"
    });
    home.run(["stop", "h"]).succeeds();
    assert_eq!(field(&home, "h", "exit_status"), 9);
}

#[test]
fn attached_to_a_terminal() {
    let home = Home::with_alpine();
    home.run(["run", "-dit", "--name", "shell", "alpine", "sh"])
        .succeeds();
    let mut person = home.terminal(["attach", "shell"]);
    person.send("stty size; tty\n");
    person.expect("24 80");
    person.expect("/dev/pts/0");
    // Leaving leaves it running.
    person.send("\x10\x11");
    assert_eq!(person.wait(), 0);
    assert_eq!(field(&home, "shell", "status"), "running");
    let mut person = home.terminal(["attach", "shell"]);
    person.send("echo $((40 + 2))\n");
    person.expect("42");
    person.send("exit 8\n");
    assert_eq!(person.wait(), 8);
    assert!(home.run(["logs", "shell"]).succeeds().text().contains("42"));
    home.run(["rm", "shell"]).succeeds();
}

#[test]
fn it_lives_on_when_the_terminal_closes() {
    let home = Home::with_alpine();
    let mut person = home.terminal(["run", "-d", "--name", "on", "alpine", "sleep", "1000"]);
    person.expect("on");
    assert_eq!(person.wait(), 0);
    drop(person);
    assert_eq!(field(&home, "on", "status"), "running");
    home.run(["rm", "-f", "on"]).succeeds();
}

#[test]
fn the_monitor_has_one_thread_and_few_descriptors() {
    let home = with_web();
    let state = std::fs::read(home.root().join("run/web/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", state["monitor"])).unwrap();
    let number = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert_eq!(number("Threads:"), 1);
    let open = std::fs::read_dir(format!("/proc/{}/fd", state["monitor"]))
        .unwrap()
        .count();
    assert!(open < 20, "{open} descriptors");
    home.run(["rm", "-f", "web"]).succeeds();
}
