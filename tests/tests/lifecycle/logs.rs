//! What a container in the background wrote: kept by box, out of the container's reach, and found by `box logs`.

use std::fs;
use std::path::{Path, PathBuf};

use box_tests::{Home, Outcome};

use crate::{field, until};

/// Starts `sh -c script` as `name`, with these options of run.
fn start(home: &Home, name: &str, options: &[&str], script: &str) {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    args.extend(["alpine", "sh", "-c", script]);
    home.run(args).succeeds();
}

/// The same, to its end.
fn finish(home: &Home, name: &str, options: &[&str], script: &str) {
    start(home, name, options, script);
    home.run(["wait", name]).succeeds();
}

fn log(home: &Home, name: &str) -> PathBuf {
    home.root().join("instances").join(name).join("log/ctr.log")
}

/// The container's records without their times.
fn records(home: &Home, name: &str) -> Vec<String> {
    let text = fs::read_to_string(log(home, name)).unwrap();
    text.lines().map(|line| line[31..].to_owned()).collect()
}

/// A field of /proc/PID/status of the monitor, in KiB or whatever it has.
fn monitor(home: &Home, name: &str) -> String {
    let state = fs::read(home.root().join("run").join(name).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    state["monitor"].to_string()
}

#[test]
fn the_streams_are_apart_in_the_format_of_podman_and_kubernetes() {
    let home = Home::with_alpine();
    let script = "echo one; echo two >&2; printf part; sleep 0.3; echo; printf '\\001\\377'";
    finish(&home, "web", &[], script);
    let shown = home.run(["logs", "web"]).succeeds();
    assert_eq!(shown.stdout, b"one\npart\n\x01\xff");
    assert_eq!(shown.stderr, "two\n");
    let text = fs::read(log(&home, "web")).unwrap();
    let text = String::from_utf8_lossy(&text);
    let mut forms: Vec<&str> = text.lines().map(|line| &line[31..]).collect();
    forms.sort_unstable();
    assert_eq!(
        forms,
        [
            "stderr F two",
            "stdout F ",
            "stdout F one",
            "stdout P \u{1}\u{fffd}",
            "stdout P part"
        ]
    );
    let inspected = home.run(["inspect", "web"]).succeeds().json();
    assert_eq!(
        inspected[0]["log_path"],
        log(&home, "web").to_str().unwrap()
    );
    // With a terminal there is one stream, as the terminal shows it.
    finish(&home, "tty", &["-t"], "echo one; echo two >&2");
    let shown = home.run(["logs", "tty"]).succeeds();
    assert_eq!(
        (&*shown.stdout, &*shown.stderr),
        (&b"one\r\ntwo\r\n"[..], "")
    );
}

/// A program that does to its stdout what it can, in the order of the words.
const TAMPER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
int main(void) {
    char byte;
    write(1, "EVIDENCE\n", 9);
    usleep(300000);
    int again = open("/proc/self/fd/1", O_RDWR | O_TRUNC | O_NONBLOCK);
    int fds[] = {1, 2, again};
    for (int i = 0; i < 3; i++) {
        int fd = fds[i];
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_APPEND);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        ftruncate(fd, 0);
        ftruncate(fd, 16L << 30);
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 9);
        pwrite(fd, "FORGED", 6, 0);
        lseek(fd, 0, SEEK_SET);
        fchmod(fd, 0777);
        fchown(fd, 12345, 12345);
        fsetxattr(fd, "user.x", "x", 1, 0);
        fcntl(fd, F_SETPIPE_SZ, 4096);
    }
    fcntl(1, F_SETPIPE_SZ, 1 << 20);
    read(again, &byte, 1);
    dprintf(1, "2000-01-01T00:00:00.000000000Z stderr F FORGED\n");
    dprintf(1, "\n2000-01-01T00:00:00.000000000Z stderr F FORGED\r\033[2J\033[1A");
    write(1, "\0\0\n", 3);
    for (;;) pause();
}
"#;

#[test]
fn the_container_cannot_take_back_or_write_over_what_it_wrote() {
    let home = Home::with_alpine();
    let source = home.path().join("tamper.c");
    fs::write(&source, TAMPER).unwrap();
    let program = home.path().join("tamper");
    let compiled = std::process::Command::new("cc")
        .args(["-static", "-w", "-o"])
        .args([&program, &source])
        .status();
    assert!(compiled.unwrap().success());
    let volume = format!("{}:/tamper:ro", program.display());
    let forged = "2000-01-01T00:00:00.000000000Z stderr F FORGED";
    let expected = format!("EVIDENCE\n{forged}\n\n{forged}\r\x1b[2J\x1b[1A\0\0\n");
    for options in [
        &[][..],
        &["-u", "1000:1000"],
        &["--userns", "auto"],
        &["--cap-add", "ALL", "--seccomp", "unconfined"],
    ] {
        let mut args = vec!["run", "-d", "--name", "t", "-v", &volume];
        args.extend(options);
        args.extend(["alpine", "/tamper"]);
        home.run(args).succeeds();
        until(&home, "it has done what it could", || {
            home.run(["logs", "t"])
                .succeeds()
                .stdout
                .ends_with(b"\0\0\n")
        });
        let shown = home.run(["logs", "t"]).succeeds();
        assert_eq!(
            String::from_utf8_lossy(&shown.stdout),
            expected,
            "{options:?}"
        );
        assert_eq!(shown.stderr, "", "{options:?}");
        let dated = home.run(["logs", "-t", "t"]).succeeds();
        assert!(!dated.stdout.starts_with(b"2000-"));
        let metadata = fs::metadata(log(&home, "t")).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid()),
            (0o600, 0),
            "{options:?}"
        );
        assert!(metadata.len() < 1000, "{options:?}");
        // The monitor waits, and does not turn round and round.
        let ticks = || -> u64 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", monitor(&home, "t"))).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
            fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
        };
        let before = ticks();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(ticks() - before < 10, "{options:?}");
        home.run(["rm", "-f", "t"]).succeeds();
    }
}

#[test]
fn standard_streams_can_be_opened_by_name_whoever_the_user_is() {
    let home = Home::with_alpine();
    let script = "echo a >/dev/stdout; echo b >/proc/self/fd/2; ls -l /proc/self/fd/1 >/dev/null; \
                  ln -sf /dev/stdout /tmp/access.log; echo c >>/tmp/access.log";
    for (name, options) in [
        ("root", &[][..]),
        ("user", &["-u", "1000:1000"]),
        ("mapped", &["--userns", "auto"]),
        ("both", &["--userns", "auto", "-u", "1000"]),
    ] {
        finish(&home, name, options, script);
        let shown = home.run(["logs", name]).succeeds();
        assert_eq!((shown.text(), &*shown.stderr), ("a\nc", "b\n"), "{name}");
    }
    // A worker that is no longer root.
    finish(
        &home,
        "worker",
        &[],
        "su nobody -s /bin/sh -c 'echo a >/dev/stdout'",
    );
    assert_eq!(home.run(["logs", "worker"]).succeeds().text(), "a");
}

#[test]
fn nothing_that_was_written_before_the_end_is_missing() {
    let home = Home::with_alpine();
    // More than a pipe holds, and the end right behind it.
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2; kill -9 $$";
    for round in 0..5 {
        let name = format!("r{round}");
        finish(&home, &name, &[], script);
        let shown = home.run(["logs", &name]).succeeds();
        assert_eq!((shown.stdout.len(), &*shown.stderr), (3_000_000, "end\n"));
        home.run(["start", &name]).succeeds();
        home.run(["wait", &name]).succeeds();
        let shown = home.run(["logs", &name]).succeeds();
        assert_eq!(shown.stdout.len(), 6_000_000, "it goes on where it was");
        home.run(["rm", &name]).succeeds();
    }
}

#[test]
fn a_process_that_outlives_the_first_one_does_not_keep_the_end_waiting() {
    let home = Home::with_alpine();
    let script = "(trap '' TERM HUP; yes) & sleep 0.2; echo end >&2";
    for options in [&[][..], &["--pid", "host"], &["-t", "--pid", "host"]] {
        finish(&home, "o", options, script);
        assert_eq!(field(&home, "o", "exit_status"), 0, "{options:?}");
        home.run(["rm", "o"]).succeeds();
    }
}

#[test]
fn the_log_is_bounded_and_followed_from_file_to_file() {
    let home = Home::with_alpine();
    let count = 60_000;
    let script = format!(
        "while ! [ -e /go ]; do sleep 0.05; done; i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo line $i; done"
    );
    start(
        &home,
        "r",
        &["--log-opt", "max-size=64k", "--log-opt", "max-file=3"],
        &script,
    );
    let following = home.command(["logs", "-f", "r"]);
    let following = std::thread::spawn(move || Outcome::of(following, b""));
    home.run(["exec", "r", "touch", "/go"]).succeeds();
    home.run(["wait", "r"]).succeeds();
    let directory = log(&home, "r").parent().unwrap().to_owned();
    let mut files: Vec<(String, u64)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, entry.metadata().unwrap().len())
        })
        .collect();
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["ctr.log", "ctr.log.1", "ctr.log.2"]);
    assert!(files.iter().all(|(_, size)| *size <= 64_000), "{files:?}");
    assert!(
        files[1..].iter().all(|(_, size)| *size > 63_000),
        "{files:?}"
    );
    // What is there is whole lines, in order, up to the last one.
    let check = |text: &str| {
        let numbers: Vec<u32> = text
            .lines()
            .map(|line| line.strip_prefix("line ").unwrap().parse().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(numbers.last(), Some(&count));
        numbers.len()
    };
    let kept = check(home.run(["logs", "r"]).succeeds().text());
    assert!(kept > 2_000, "{kept}");
    let followed = following.join().unwrap().succeeds();
    assert!(check(followed.text()) >= kept);
    let last = home.run(["logs", "-n", "1500", "r"]).succeeds();
    assert_eq!(check(last.text()), 1500);
}

#[test]
fn half_a_gigabyte_passes_through_a_small_monitor() {
    let home = Home::with_alpine();
    let script = format!(
        "yes '{}' | head -c 500000000; head -c 50000000 /dev/zero; echo; echo end; sleep 1000",
        "so that there are not too many lines ".repeat(20)
    );
    start(&home, "big", &[], &script);
    until(&home, "all is written", || {
        let last = home.run(["logs", "--tail", "1", "big"]).succeeds();
        last.stdout == b"end\n"
    });
    let status = fs::read_to_string(format!("/proc/{}/status", monitor(&home, "big"))).unwrap();
    let number = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    // What is its own: the program itself is shared, and in a debug build many times larger.
    assert!(number("RssAnon:") < 1024, "{status}");
    let size: u64 = fs::read_dir(log(&home, "big").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!((32 << 20..=64 << 20).contains(&size), "{size}");
    home.run(["rm", "-f", "big"]).succeeds();
}

#[test]
fn a_killed_monitor_leaves_whole_records() {
    let home = Home::with_alpine();
    start(&home, "k", &["--log-opt", "max-size=1m"], "yes; true");
    until(&home, "it writes", || {
        log(&home, "k").with_extension("log.1").exists()
    });
    let killed = std::process::Command::new("kill")
        .args(["-9", &monitor(&home, "k")])
        .status();
    assert!(killed.unwrap().success());
    until(&home, "it has ended with it", || {
        field(&home, "k", "status") == "lost"
    });
    let shown = home.run(["logs", "k"]).succeeds();
    assert!(shown.stdout.len() > 10_000);
    assert!(shown.text().lines().all(|line| line == "y"));
    // As if it had been in the midst of one.
    let path = log(&home, "k");
    // It may have been killed between two steps of a rotation, with no file of this name.
    let mut text = fs::read(&path).unwrap_or_default();
    text.extend(b"2026-01-01T00:00:00.0000000");
    fs::write(&path, text).unwrap();
    assert_eq!(home.run(["logs", "-n", "1", "k"]).succeeds().text(), "y");
    home.run(["start", "k"]).succeeds();
    until(&home, "it writes again", || {
        let last = home.run(["logs", "-n", "1", "k"]).succeeds();
        last.text() == "y"
    });
    home.run(["stop", "k"]).succeeds();
    let bad = records(&home, "k")
        .into_iter()
        .find(|record| !record.starts_with("stdout "));
    assert_eq!(bad, None);
    home.run(["rm", "-f", "k"]).succeeds();
}

/// A file system that is full.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        std::process::Command::new("umount")
            .args(["-l".as_ref(), self.0.as_os_str()])
            .status()
            .unwrap();
    }
}

fn mount(target: &Path) -> Small {
    fs::create_dir_all(target).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "none"])
        .arg(target)
        .status();
    assert!(mounted.unwrap().success());
    Small(target.to_owned())
}

#[test]
fn a_full_disk_costs_output_and_says_so() {
    let home = Home::with_alpine();
    let script = "while ! [ -e /go ]; do sleep 0.05; done; yes | head -n 50000; touch /done; \
                  while ! [ -e /more ]; do sleep 0.05; done; echo after; sleep 1000";
    start(&home, "f", &[], script);
    home.run(["stop", "f"]).succeeds();
    let small = mount(log(&home, "f").parent().unwrap());
    home.run(["start", "f"]).succeeds();
    home.run(["exec", "f", "touch", "/go"]).succeeds();
    // The container goes on.
    until(&home, "it has written all", || {
        home.run(["exec", "f", "test", "-e", "/done"]).status == 0
    });
    let shown = home.run(["logs", "f"]).succeeds();
    assert!(shown.text().lines().all(|line| line == "y"));
    let kept = shown.stdout.len();
    assert!((1000..100_000).contains(&kept), "{kept}");
    let grown = std::process::Command::new("mount")
        .args(["-o", "remount,size=4m"])
        .arg(&small.0)
        .status();
    assert!(grown.unwrap().success());
    home.run(["exec", "f", "touch", "/more"]).succeeds();
    until(&home, "it goes on", || {
        home.run(["logs", "f"]).succeeds().text().ends_with("after")
    });
    let shown = home.run(["logs", "f"]).succeeds();
    let lost = 100_000 - kept;
    assert_eq!(
        shown.stderr,
        format!("box: {lost} bytes of output are missing here: no space left on device\n")
    );
    home.run(["stop", "f"]).succeeds();
    drop(small);
    home.run(["rm", "f"]).succeeds();
}

#[test]
fn drivers_are_those_of_podman() {
    let home = Home::with_alpine();
    let script = "echo out; echo err >&2; echo in >/dev/stdout";
    finish(&home, "none", &["--log-driver", "none"], script);
    home.run(["logs", "none"])
        .fails(&["none has no log: it was created with --log-driver none"]);
    assert!(!log(&home, "none").exists());
    // Started in the background, it writes to what box was given.
    let flags = ["run", "-d", "--name", "pass", "--log-driver", "passthrough"];
    let mut passed = home.command(flags);
    passed.args(["alpine", "sh", "-c", script]);
    let passed = Outcome::of(passed, b"").succeeds();
    home.run(["wait", "pass"]).succeeds();
    let mut lines: Vec<&str> = passed.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["in", "out", "pass"]);
    assert_eq!(passed.stderr, "err\n");
    home.run(["logs", "pass"]).fails(&["passthrough"]);
    let mut person = home.terminal(["start", "pass"]);
    person.expect("would give it this terminal");
    assert_eq!(person.wait(), 125);
    for (flag, value, words) in [
        ("--log-driver", "json-file", "no such driver"),
        ("--log-driver", "journald", "no such driver"),
        ("--log-driver", "syslog", "no such driver"),
        ("--log-driver", "nonesuch", "expected k8s-file"),
        ("--log-opt", "max-size=0", "at least 1k"),
        ("--log-opt", "max-size", "max-size=SIZE"),
        ("--log-opt", "max-file=0", "from 1 to"),
        ("--log-opt", "path=/x", "its own directory"),
        ("--log-opt", "tag=x", "max-size=SIZE"),
    ] {
        let words = words.replace("its own", "own");
        home.run(["run", "-d", flag, value, "alpine", "true"])
            .fails(&[value, &words]);
    }
    // In the foreground nothing is logged, whatever the driver is.
    let shown = home.run(["run", "--log-driver", "none", "alpine", "echo", "hi"]);
    assert_eq!(shown.succeeds().text(), "hi");
}

#[test]
fn followed_under_another_name_until_it_ends() {
    let home = Home::with_alpine();
    let script = "echo one; while ! [ -e /go ]; do sleep 0.05; done; echo two";
    start(&home, "old", &["--log-opt", "max-size=1k"], script);
    let following = home.command(["logs", "-f", "old"]);
    let following = std::thread::spawn(move || Outcome::of(following, b""));
    until(&home, "it has spoken", || {
        home.run(["logs", "old"]).succeeds().text() == "one"
    });
    home.run(["rename", "old", "new"]).succeeds();
    home.run(["exec", "new", "touch", "/go"]).succeeds();
    assert_eq!(following.join().unwrap().succeeds().text(), "one\ntwo");
    assert_eq!(home.run(["logs", "new"]).succeeds().text(), "one\ntwo");
}
