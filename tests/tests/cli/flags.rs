//! Each option of `box run` that changes the container does so.

use std::fs;

use box_tests::Home;

fn text(home: &Home, options: &[&str], script: &str) -> String {
    let line = [&["run", "--rm"], options, &["alpine", "sh", "-c", script]].concat();
    home.run(line).succeeds().text().to_owned()
}

#[test]
fn limits_of_processes() {
    let home = Home::with_alpine();
    assert_eq!(
        text(
            &home,
            &["--ulimit", "nofile=77:99"],
            "ulimit -n; ulimit -Hn"
        ),
        "77\n99"
    );
    assert_eq!(text(&home, &["--umask", "077"], "umask"), "0077");
    assert_eq!(
        text(
            &home,
            &["--oom-score-adj", "500"],
            "cat /proc/self/oom_score_adj"
        ),
        "500"
    );
    let shm = text(
        &home,
        &["--shm-size", "3m"],
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
    );
    assert_eq!(shm, "3072");
    let sysctl = text(
        &home,
        &["--sysctl", "kernel.msgmax=4096"],
        "cat /proc/sys/kernel/msgmax",
    );
    assert_eq!(sysctl, "4096");
}

#[test]
fn capabilities() {
    let home = Home::with_alpine();
    let effective = |options: &[&str]| {
        let line = text(&home, options, "grep CapEff /proc/self/status");
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    // CHOWN is 0, NET_ADMIN 12, MKNOD 27, AUDIT_WRITE 29.
    let plain = effective(&[]);
    assert_eq!(plain & (1 | 1 << 12 | 1 << 27 | 1 << 29), 1);
    assert_eq!(effective(&["--cap-add", "NET_ADMIN"]), plain | 1 << 12);
    assert_eq!(
        effective(&["--cap-drop", "ALL", "--cap-add", "CAP_CHOWN"]),
        1
    );
    assert_eq!(effective(&["--cap-drop", "ALL"]), 0);
    assert_eq!(effective(&["-u", "1000"]), 0);
    // ALL is what box has, whatever that is here.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:\t"));
    let own = u64::from_str_radix(own.unwrap(), 16).unwrap();
    assert_eq!(effective(&["--cap-add", "ALL"]), own);
    assert_eq!(
        effective(&["--cap-add", "ALL", "--cap-drop", "CHOWN"]),
        own & !1
    );
    // In a user namespace of its own root has all there are.
    let all = effective(&["--cap-add", "ALL", "--userns", "auto"]);
    assert_eq!(all & own, own);
    let command = home.command(["unused"]);
    let mut dropped = std::process::Command::new("setpriv");
    dropped
        .args(["--bounding-set", "-sys_time"])
        .arg(command.get_program())
        .args(["run", "--rm", "--cap-add", "SYS_TIME", "alpine", "true"])
        .current_dir(home.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => dropped.env(name, value),
            None => dropped.env_remove(name),
        };
    }
    box_tests::Outcome::of(dropped, b"").fails(&["CAP_SYS_TIME", "box itself does not hold it"]);
    let flag = text(
        &home,
        &["--no-new-privileges"],
        "grep NoNewPrivs /proc/self/status",
    );
    assert!(flag.ends_with('1'), "{flag}");
}

#[test]
fn seccomp_filters() {
    let home = Home::with_alpine();
    let mode =
        |options: &[&str]| text(&home, options, "grep Seccomp: /proc/self/status | cut -f 2");
    assert_eq!(mode(&[]), "2");
    assert_eq!(mode(&["--seccomp", "unconfined"]), "0");
    assert_eq!(mode(&["--security-opt", "seccomp=unconfined"]), "0");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(home.path().join("profile.json"), profile).unwrap();
    let denied = [
        "run",
        "--rm",
        "--seccomp",
        "profile.json",
        "alpine",
        "mkdir",
        "/x",
    ];
    assert!(home.run(denied).exits(1).stderr.contains("not permitted"));
}

#[test]
fn namespaces_of_the_host() {
    let home = Home::with_alpine();
    for (option, name) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--cgroupns", "cgroup"),
    ] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let link = format!("readlink /proc/self/ns/{name}");
        assert_eq!(
            text(&home, &[option, "host"], &link),
            own.to_str().unwrap(),
            "{option}"
        );
        assert_ne!(text(&home, &[], &link), own.to_str().unwrap(), "{option}");
    }
    let map = text(
        &home,
        &["--userns", "200000:65536"],
        "cat /proc/self/uid_map; id -u",
    );
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "65536", "0"]);
}

#[test]
fn devices_are_given_by_name() {
    let home = Home::with_alpine();
    text(
        &home,
        &["--device", "/dev/null:/dev/nothing"],
        "test -c /dev/nothing && echo x > /dev/nothing",
    );
    home.run(["run", "--rm", "--device", "/etc/passwd", "alpine", "true"])
        .fails(&["/etc/passwd", "not a device"]);
}

#[test]
fn an_init_reaps_and_the_command_is_its_child() {
    let home = Home::with_alpine();
    assert_ne!(text(&home, &["--init"], "echo $$"), "1");
    home.run(["run", "--rm", "--init", "alpine", "sh", "-c", "exit 9"])
        .exits(9);
    // It ends with its command also where a filter forbids it to wait for signals.
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["rt_sigtimedwait"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(home.path().join("profile.json"), profile).unwrap();
    let line = ["run", "--rm", "--init", "--seccomp", "profile.json"];
    home.run([&line[..], &["alpine", "sh", "-c", "exit 9"]].concat())
        .exits(9);
}

#[test]
fn a_timeout_ends_what_ignores_it() {
    let home = Home::with_alpine();
    let script = "trap '' TERM; while :; do sleep 1; done";
    let options = [
        "run",
        "--rm",
        "--timeout",
        "200ms",
        "--kill-after",
        "200ms",
        "alpine",
        "sh",
        "-c",
        script,
    ];
    home.run(options).exits(124);
}

#[test]
fn descriptors_are_handed_on_only_when_asked() {
    let home = Home::with_alpine();
    let path = home.path().join("three");
    fs::write(&path, "third\n").unwrap();
    let three = |options: &str| {
        let mut shell = std::process::Command::new("sh");
        let command = home.command(["unused"]);
        let script = format!("exec \"$0\" run --rm {options} alpine sh -c 'cat <&3' 3<three");
        shell
            .arg("-c")
            .arg(script)
            .arg(command.get_program())
            .current_dir(home.path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        box_tests::Outcome::of(shell, b"")
    };
    assert_eq!(three("--preserve-fds 1").succeeds().text(), "third");
    assert_ne!(three("").status, 0);
}

#[test]
fn a_killed_box_takes_its_container_along() {
    taken_along(&[], &["sh", "-c", "echo up; exec sleep 1000"], |_| {});
}

/// The kernel clears the death signal of a process that changes its user.
#[test]
fn a_killed_box_takes_a_container_along_that_does_not_heed_its_death() {
    let su = "exec su nobody -s /bin/sh -c 'echo up; exec sleep 1000'";
    let guarded = |box_pid: u32| {
        let children = format!("/proc/{box_pid}/task/{box_pid}/children");
        while std::fs::read_to_string(&children)
            .unwrap()
            .split_whitespace()
            .count()
            < 2
        {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    taken_along(&[], &["sh", "-c", su], guarded);
    // Without a pid namespace nothing ends with its first process.
    let two = "sleep 1000 & exec su nobody -s /bin/sh -c 'echo up; exec sleep 1000'";
    taken_along(&["--pid", "host"], &["sh", "-c", two], guarded);
}

fn taken_along(options: &[&str], command: &[&str], wait: impl Fn(u32)) {
    let home = Home::with_alpine();
    let mut line = vec!["run", "--name", "orphan"];
    line.extend(options);
    line.push("alpine");
    line.extend(command);
    let mut child = home
        .command(line)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert_eq!(line, "up\n");
    wait(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = std::time::Instant::now() + box_tests::outcome::PATIENCE;
    while !box_tests::leftovers::processes(home.path()).is_empty() {
        assert!(
            std::time::Instant::now() < deadline,
            "the container outlives its box"
        );
    }
    let row = &home.run(["ps", "-a", "--format", "json"]).succeeds().json()[0];
    assert_ne!(row["status"], "running", "{row}");
    home.run(["rm", "orphan"]).succeeds();
}

#[test]
fn ids_of_its_own() {
    let home = Home::with_alpine();
    let first = |name: &str| {
        let script =
            "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /new; stat -c %u /new /bin";
        let options = ["run", "--name", name, "--userns", "auto", "alpine"];
        let line: Vec<&str> = options.into_iter().chain(["sh", "-c", script]).collect();
        let outcome = home.run(line).succeeds();
        let text = outcome.text().to_owned();
        let words: Vec<u64> = text
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let [0, first, 65536, 0, group, 65536, 0, 0, 0] = words[..] else {
            panic!("{text}")
        };
        assert_eq!(first, group);
        assert!(first >= 65536 && first % 65536 == 0, "{first}");
        first
    };
    // The kept container keeps its ids.
    assert_ne!(first("one"), first("two"));
    home.run(["run", "--rm", "--userns", "some", "alpine"])
        .fails(&["--userns some", "expected host, auto"]);
}
