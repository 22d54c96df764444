//! `box run`: the environment of a container, and the end of its command.

use std::fs;

use box_tests::{Home, Outcome};

#[test]
fn the_command_is_process_one_and_sees_only_itself() {
    let home = Home::with_alpine();
    let seen = home.sh("echo $$; ps -o pid,comm | tail -n +2 | wc -l; ls -d /proc/[0-9]* | wc -l");
    let seen = seen.succeeds();
    let lines: Vec<&str> = seen.text().lines().collect();
    // sh, ps, tail and wc; then sh, ls and wc, some of which may have ended.
    assert_eq!(lines[0], "1");
    assert!(lines[1].trim().parse::<u32>().unwrap() <= 5, "{lines:?}");
    assert!(lines[2].trim().parse::<u32>().unwrap() <= 4, "{lines:?}");
}

#[test]
fn the_environment_is_clean() {
    let home = Home::with_alpine();
    let mut command = home.command([
        "run", "--rm", "-e", "GIVEN=1", "-e", "MINE", "-e", "UNSET", "alpine", "env",
    ]);
    command
        .env("TERM", "xterm")
        .env("SECRET", "s")
        .env("MINE", "from me");
    let seen = Outcome::of(command, b"").succeeds();
    let mut lines: Vec<&str> = seen.text().lines().collect();
    lines.sort_unstable();
    let expected = [
        "GIVEN=1",
        "HOME=/root",
        "MINE=from me",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PS1=[\\u@\\h \\W]\\$ ",
        "TERM=xterm",
    ];
    assert_eq!(lines, expected);
    fs::write(home.path().join("vars"), "# comment\nA=1\nB=two words\n").unwrap();
    let seen = home.run([
        "run",
        "--rm",
        "--env-file",
        "vars",
        "-e",
        "A=2",
        "alpine",
        "sh",
        "-c",
        "echo $A $B",
    ]);
    assert_eq!(seen.succeeds().text(), "2 two words");
}

#[test]
fn host_name_and_working_directory() {
    let home = Home::with_alpine();
    assert_eq!(home.sh("hostname; pwd").succeeds().text(), "container\n/");
    let seen = home.run([
        "run",
        "--rm",
        "--hostname",
        "other",
        "-w",
        "/usr/bin",
        "alpine",
        "sh",
        "-c",
        "hostname; pwd",
    ]);
    assert_eq!(seen.succeeds().text(), "other\n/usr/bin");
}

#[test]
fn namespaces_are_its_own() {
    let home = Home::with_alpine();
    let inside = home
        .sh("for n in pid mnt uts ipc; do readlink /proc/self/ns/$n; done")
        .succeeds();
    for (name, link) in ["pid", "mnt", "uts", "ipc"]
        .into_iter()
        .zip(inside.text().lines())
    {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(own.to_str().unwrap(), link, "{name}");
    }
    let devices = home.run([
        "run",
        "--rm",
        "--net",
        "none",
        "alpine",
        "sh",
        "-c",
        "ls /sys/class/net; cat /proc/net/dev",
    ]);
    let devices = devices.succeeds();
    assert!(
        devices.text().contains("lo:") && !devices.text().contains("eth"),
        "{}",
        devices.text()
    );
}

#[test]
fn the_root_is_private_and_the_host_out_of_sight() {
    let home = Home::with_alpine();
    home.sh("echo changed > /etc/alpine-release; rm /bin/busybox")
        .succeeds();
    assert_eq!(
        home.sh("cat /etc/alpine-release").succeeds().text(),
        "3.20.3"
    );
    let here = home.path().to_str().unwrap().to_owned();
    let seen = home
        .sh(&format!(
            "ls -d {here} 2>&1; ls /proc/1/root/; cat /proc/mounts"
        ))
        .succeeds();
    assert!(seen.text().contains("No such file"), "{}", seen.text());
    home.sh("touch /sys/kernel/x").exits(1);
    home.sh(
        "test -c /dev/null -a -c /dev/zero -a -c /dev/urandom -a -c /dev/tty && echo x > /dev/null",
    )
    .succeeds();
    home.sh("test -e /dev/sda || test -e /dev/vda").exits(1);
    home.sh("head -c 10 /dev/random | wc -c; echo ok > /dev/shm/x; ls -l /dev/fd/0 /dev/stdin")
        .succeeds();
}

#[test]
fn names_can_be_resolved() {
    let home = Home::with_alpine();
    let seen = home
        .sh("cat /etc/resolv.conf; grep localhost /etc/hosts")
        .succeeds();
    assert!(seen.text().contains("127.0.0.1"), "{}", seen.text());
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for server in host.lines().filter(|line| line.starts_with("nameserver")) {
        assert!(
            seen.text().contains(server),
            "{server} is not in:\n{}",
            seen.text()
        );
    }
}

#[test]
fn exit_statuses() {
    let home = Home::with_alpine();
    home.sh("exit 0").exits(0);
    home.sh("exit 42").exits(42);
    home.sh("exit 255").exits(255);
    home.sh("kill -9 $$").exits(0);
    home.run([
        "run",
        "--rm",
        "alpine",
        "sh",
        "-c",
        "sh -c 'kill -KILL $$'; exit $?",
    ])
    .exits(137);
    home.run(["run", "--rm", "alpine", "nosuch"])
        .fails_with(127, &["nosuch"]);
    home.run(["run", "--rm", "alpine", "/no/such"])
        .fails_with(127, &["/no/such"]);
    home.run(["run", "--rm", "alpine", "/etc/passwd"])
        .fails_with(126, &["/etc/passwd", "execute permission"]);
    home.run(["run", "--rm", "alpine", "/etc"])
        .fails_with(126, &["/etc"]);
    home.run([
        "run",
        "--rm",
        "alpine",
        "sh",
        "-c",
        "kill -TERM $$; sleep 1; exit 5",
    ])
    .exits(5);
    assert!(home.instances().is_empty());
}

#[test]
fn a_command_that_a_signal_ends_has_128_and_its_number() {
    let home = Home::with_alpine();
    for (signal, status) in [
        (rustix::process::Signal::TERM, 143),
        (rustix::process::Signal::INT, 130),
    ] {
        let mut child = home
            .command([
                "run",
                "--rm",
                "alpine",
                "sh",
                "-c",
                "echo up; exec sleep 1000",
            ])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        // The shell takes what comes before it has become the sleep.
        let pid = rustix::process::Pid::from_child(&child);
        let deadline = std::time::Instant::now() + box_tests::outcome::PATIENCE;
        let ended = loop {
            rustix::process::kill_process(pid, signal).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{signal:?} does not end it"
            );
        };
        assert_eq!(box_tests::outcome::code(ended), status);
    }
}

#[test]
fn the_image_has_a_command_of_its_own() {
    let home = Home::with_alpine();
    let seen = home
        .run_with_stdin(["run", "--rm", "alpine"], b"echo $0 $$\n")
        .succeeds();
    assert_eq!(seen.text(), "/bin/sh 1");
}

#[test]
fn stdin_passes_straight_through() {
    let home = Home::with_alpine();
    let hi = home
        .run_with_stdin(["run", "--rm", "alpine", "cat"], b"hi\n")
        .succeeds();
    assert_eq!(hi.stdout, b"hi\n");
    let binary: Vec<u8> = (0..300_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let same = home
        .run_with_stdin(["run", "--rm", "-i", "alpine", "cat"], &binary)
        .succeeds();
    assert!(same.stdout == binary, "binary data was changed");
    let split = home.sh("echo out; echo err >&2").succeeds();
    assert_eq!((split.text(), split.stderr.as_str()), ("out", "err\n"));
}

#[test]
fn options_after_the_image_belong_to_the_command() {
    let home = Home::with_alpine();
    let seen = home
        .run([
            "run", "--rm", "alpine", "echo", "--rm", "-it", "--root", "/x", "--", "-q",
        ])
        .succeeds();
    assert_eq!(seen.text(), "--rm -it --root /x -- -q");
}

#[test]
fn volumes_of_all_spellings() {
    let home = Home::with_alpine();
    fs::create_dir(home.path().join("data")).unwrap();
    fs::write(home.path().join("data/file"), "from the host\n").unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let seen = home.run([
        "run",
        "--rm",
        "-v",
        "./data:/data",
        "alpine",
        "sh",
        "-c",
        "cat /data/file; echo new > /data/new",
    ]);
    assert_eq!(seen.succeeds().text(), "from the host");
    assert_eq!(
        fs::read_to_string(home.path().join("data/new")).unwrap(),
        "new\n"
    );
    let mount = format!("type=bind,source={data},target=/deep/er,readonly");
    home.run([
        "run",
        "--rm",
        "--mount",
        &mount,
        "alpine",
        "sh",
        "-c",
        "cat /deep/er/file && ! touch /deep/er/x",
    ])
    .succeeds();
    let ro = format!("{data}:/data:ro");
    home.run(["run", "--rm", "-v", &ro, "alpine", "touch", "/data/x"])
        .exits(1);
    let seen = home.run([
        "run",
        "--rm",
        "--tmpfs",
        "/t:size=1m",
        "-v",
        &format!("{data}:/t/in"),
        "alpine",
        "sh",
        "-c",
        "df -k /t | tail -n 1; cat /t/in/file",
    ]);
    let seen = seen.succeeds();
    assert!(
        seen.text().contains("1024") && seen.text().contains("from the host"),
        "{}",
        seen.text()
    );
    home.run([
        "run",
        "--rm",
        "--mount",
        "type=bind,source=/no/such,target=/x",
        "alpine",
        "true",
    ])
    .fails(&["/no/such"]);
}

#[test]
fn users_by_name_and_number() {
    let home = Home::with_alpine();
    let id = |user: &str| {
        let seen = home
            .run([
                "run",
                "--rm",
                "-u",
                user,
                "alpine",
                "sh",
                "-c",
                "id -u; id -g; echo $HOME",
            ])
            .succeeds();
        seen.text().replace('\n', " ")
    };
    assert_eq!(id("guest"), "405 100 /dev/null");
    assert_eq!(id("1234:77"), "1234 77 /");
    assert_eq!(id("0"), "0 0 /root");
    home.run(["run", "--rm", "-u", "nobodyatall", "alpine", "true"])
        .fails(&["nobodyatall", "/etc/passwd"]);
}

#[test]
fn a_read_only_root() {
    let home = Home::with_alpine();
    home.run(["run", "--rm", "--read-only", "alpine", "touch", "/x"])
        .exits(1);
    home.run([
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "alpine",
        "touch",
        "/tmp/x",
    ])
    .succeeds();
}

#[test]
fn a_report_tells_how_it_ended() {
    let home = Home::with_alpine();
    let report = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(home.path().join("report.json")).unwrap()).unwrap()
    };
    home.run([
        "run",
        "--rm",
        "--name",
        "r",
        "--report",
        "report.json",
        "alpine",
        "sh",
        "-c",
        "exit 3",
    ])
    .exits(3);
    let parsed = report();
    assert_eq!(
        (&parsed["name"], &parsed["status"], &parsed["reason"]),
        (&"r".into(), &3.into(), &"exited".into())
    );
    assert!(parsed["wall_seconds"].as_f64().unwrap() > 0.0, "{parsed}");
    home.run(["run", "--rm", "--report", "report.json", "alpine", "nosuch"])
        .fails_with(127, &["nosuch"]);
    let parsed = report();
    assert_eq!(parsed["reason"], "failed to start");
    assert!(
        parsed["error"].as_str().unwrap().contains("nosuch"),
        "{parsed}"
    );
    home.run([
        "run",
        "--rm",
        "--report",
        "report.json",
        "--timeout",
        "100ms",
        "alpine",
        "sleep",
        "1000",
    ])
    .exits(124);
    assert_eq!(report()["reason"], "timeout");
}

#[test]
fn a_dry_run_touches_nothing() {
    let home = Home::with_alpine();
    let before = home.instances();
    let plan = home
        .run([
            "run",
            "--dry-run",
            "-v",
            "/tmp:/data",
            "alpine",
            "echo",
            "x",
        ])
        .succeeds();
    for word in ["/data", "/proc", "pid", "seccomp"] {
        assert!(
            plan.text().contains(word),
            "{word} is not in:\n{}",
            plan.text()
        );
    }
    assert_eq!(home.instances(), before);
}

#[test]
fn no_control_group_remains() {
    let home = Home::with_alpine();
    let name = format!("gone{}", std::process::id());
    let cgroups = || box_tests::leftovers::cgroups(&name);
    let mut child = home
        .command([
            "run",
            "--name",
            &name,
            "alpine",
            "sh",
            "-c",
            "echo up; exec sleep 1000",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert!(
        !cgroups().is_empty(),
        "a running container has no control group"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    home.run(["rm", "-f", &name]).succeeds();
    assert_eq!(cgroups(), Vec::<String>::new());
    for (command, status) in [("true", 0), ("nosuch", 127)] {
        home.run(["run", "--rm", "--name", &name, "alpine", command])
            .exits(status);
        assert_eq!(cgroups(), Vec::<String>::new(), "{command}");
    }
}
