//! `box exec`: runs in the container, under the same confinement.

use box_tests::Home;

use crate::with_web;

#[test]
fn it_is_in_the_same_container() {
    let home = with_web();
    let script = "for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done";
    let out = home.run(["exec", "web", "sh", "-c", script]).succeeds();
    let lines: Vec<&str> = out.text().lines().collect();
    assert_eq!(lines.len(), 12);
    for pair in lines.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    let same = "for f in Seccomp Seccomp_filters NoNewPrivs CapInh CapPrm CapEff CapBnd CapAmb; do \
                a=$(grep ^$f: /proc/self/status); b=$(grep ^$f: /proc/1/status); [ \"$a\" = \"$b\" ] || echo \"$a is not $b\"; done; \
                cmp /proc/self/cgroup /proc/1/cgroup; cmp /proc/self/limits /proc/1/limits; cat /proc/self/oom_score_adj /proc/1/oom_score_adj | uniq";
    assert_eq!(
        home.run(["exec", "web", "sh", "-c", same])
            .succeeds()
            .text(),
        "0"
    );
    assert_eq!(
        home.run(["exec", "web", "hostname"]).succeeds().text(),
        "container"
    );
    let descriptors = home.run(["exec", "web", "ls", "/proc/self/fd"]).succeeds();
    assert_eq!(descriptors.text(), "0\n1\n2\n3", "3 is ls' own");
    // In its control group on the host, too.
    let group = "cat /proc/self/cgroup";
    assert_eq!(
        home.run(["exec", "web", "sh", "-c", group])
            .succeeds()
            .text(),
        home.run(["exec", "web", "cat", "/proc/1/cgroup"])
            .succeeds()
            .text()
    );
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn statuses_are_those_of_run() {
    let home = with_web();
    home.run(["exec", "web", "sh", "-c", "exit 42"]).exits(42);
    home.run(["exec", "web", "sh", "-c", "kill -KILL $$"])
        .exits(137);
    home.run(["exec", "web", "nonesuch"])
        .fails_with(127, &["nonesuch"]);
    home.run(["exec", "web", "/etc"]).fails_with(126, &["/etc"]);
    home.run(["exec", "none", "true"])
        .fails(&["no container named none"]);
    home.run(["stop", "web"]).succeeds();
    home.run(["exec", "web", "true"])
        .fails(&["web is not running (exited (3))"]);
    home.run(["rm", "web"]).succeeds();
}

#[test]
fn user_environment_directory_and_streams() {
    let home = Home::with_alpine();
    home.run([
        "run", "-d", "--name", "e", "-e", "A=1", "-e", "B=2", "alpine", "sleep", "1000",
    ])
    .succeeds();
    let out = home.run([
        "exec",
        "-e",
        "B=3",
        "-w",
        "/tmp",
        "e",
        "sh",
        "-c",
        "echo $A $B $PWD $HOME $(id -u)",
    ]);
    assert_eq!(out.succeeds().text(), "1 3 /tmp /root 0");
    let out = home.run([
        "exec",
        "-u",
        "guest",
        "e",
        "sh",
        "-c",
        "id -un; echo $HOME; grep CapEff /proc/self/status",
    ]);
    assert_eq!(
        out.succeeds().text(),
        "guest\n/dev/null\nCapEff:\t0000000000000000"
    );
    let out = home
        .run(["exec", "-u", "1000:1001", "e", "sh", "-c", "id -u; id -g"])
        .succeeds();
    assert_eq!(out.text(), "1000\n1001");
    home.run(["exec", "-u", "nobodyhere", "e", "true"])
        .fails(&["user nobodyhere"]);
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(
        home.run_with_stdin(["exec", "-i", "e", "cat"], &bytes)
            .succeeds()
            .stdout,
        bytes
    );
    home.run(["exec", "-d", "e", "touch", "/made"]).succeeds();
    crate::until(&home, "the file is made", || {
        home.run(["exec", "e", "ls", "/made"]).status == 0
    });
    home.run(["rm", "-f", "e"]).succeeds();
}

#[test]
fn a_terminal_of_its_own() {
    let home = with_web();
    let mut person = home.terminal(["exec", "-it", "web", "sh"]);
    person.send("stty size; tty; echo $TERM\n");
    person.expect("24 80");
    person.expect("/dev/pts/");
    person.expect("xterm");
    // Control-C ends the job and not the shell.
    person.send("sleep 1000\n");
    // Before that, the shell's own line editing would take the key.
    crate::until(&home, "it runs", || {
        home.run(["top", "web"])
            .succeeds()
            .text()
            .contains("sleep 1000")
    });
    person.send("\x03");
    person.send("echo still $((1 + 1))\n");
    person.expect("still 2");
    person.send("exit 5\n");
    assert_eq!(person.wait(), 5);
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn it_ends_with_the_container_and_with_box() {
    let home = with_web();
    let mut inside = home
        .command(["exec", "web", "sleep", "1000"])
        .spawn()
        .unwrap();
    crate::until(&home, "it runs", || {
        home.run(["top", "web"])
            .succeeds()
            .text()
            .contains("sleep 1000")
    });
    inside.kill().unwrap();
    inside.wait().unwrap();
    crate::until(&home, "it has gone", || {
        !home
            .run(["top", "web"])
            .succeeds()
            .text()
            .contains("sleep 1000")
    });
    let inside = home.command(["exec", "web", "sleep", "1000"]);
    let inside = std::thread::spawn(move || box_tests::Outcome::of(inside, b""));
    crate::until(&home, "it runs", || {
        home.run(["top", "web"])
            .succeeds()
            .text()
            .contains("sleep 1000")
    });
    home.run(["rm", "-f", "web"]).succeeds();
    inside.join().unwrap().exits(137);
}

/// A change of user clears the death signal, and processes started by the command never have it.
#[test]
fn what_it_started_ends_with_a_killed_box() {
    let home = with_web();
    let own = |home: &Home| {
        let top = home.run(["top", "web"]).succeeds();
        top.text().matches("sleep 100").count()
    };
    for (script, count) in [
        ("exec su nobody -s /bin/sh -c 'sleep 1001'", 1),
        (
            "exec su nobody -s /bin/sh -c 'setsid sleep 1001 & sleep 1002'",
            2,
        ),
        ("sleep 1001 & (sleep 1002 & sleep 1003) & wait", 3),
    ] {
        let mut inside = home
            .command(["exec", "web", "sh", "-c", script])
            .spawn()
            .unwrap();
        crate::until(&home, "it runs", || own(&home) >= count);
        // The command, and the process that stands by it from a moment after its start on.
        let children = format!("/proc/{0}/task/{0}/children", inside.id());
        crate::until(&home, "it is guarded", || {
            let children = std::fs::read_to_string(&children).unwrap();
            children.split_ascii_whitespace().count() == 2
        });
        inside.kill().unwrap();
        inside.wait().unwrap();
        crate::until(&home, "all of it has gone", || own(&home) == 0);
    }
    assert_eq!(crate::field(&home, "web", "status"), "running");
    home.run(["stop", "web"]).succeeds();
    assert_eq!(crate::field(&home, "web", "exit_status"), 3);
}

/// CVE-2019-5736: the executed file leads back to the program of the host, which is then written to.
#[test]
fn the_hosts_program_is_out_of_reach() {
    let home = with_web();
    let program = box_tests::binary::path();
    let before = std::fs::read(program).unwrap();
    let trap = "printf '#!/proc/self/exe\\n' > /trap; chmod +x /trap; ln -s /proc/self/exe /link";
    home.run(["exec", "web", "sh", "-c", trap]).succeeds();
    for command in ["/trap", "/link", "/proc/self/exe"] {
        let out = home.run(["exec", "web", command, "version"]);
        assert_ne!(out.status, 0, "{command} was executed");
    }
    // The container looks at every process that joins it, and tries to open and to write to its program.
    let watch = "while :; do for p in /proc/[0-9]*; do \
                 case $p in /proc/1) continue;; esac; \
                 l=$(readlink $p/exe 2>/dev/null) && case $l in /bin/*|/usr/*|/memfd:box-init*) ;; ?*) echo seen $l; ( : >> $p/exe ) 2>/dev/null && echo WRITTEN;; esac; \
                 done; done > /watched 2>/dev/null";
    home.run(["exec", "-d", "web", "sh", "-c", watch])
        .succeeds();
    for _ in 0..20 {
        home.run(["exec", "web", "true"]).succeeds();
    }
    let seen = home.run(["exec", "web", "cat", "/watched"]).succeeds();
    assert!(
        !seen.text().contains("WRITTEN") && !seen.text().contains("seen"),
        "{}",
        seen.text()
    );
    assert!(
        std::fs::read(program).unwrap() == before,
        "the host's program was changed"
    );
    home.run(["rm", "-f", "web"]).succeeds();
}

#[test]
fn a_working_directory_that_is_missing_is_not_made() {
    let home = with_web();
    home.run(["exec", "-w", "/typo", "web", "true"])
        .fails(&["change to the working directory /typo"]);
    home.run(["exec", "web", "test", "-e", "/typo"]).exits(1);
    let there = home.run(["exec", "-w", "/tmp", "web", "pwd"]).succeeds();
    assert_eq!(there.text(), "/tmp");
    home.run(["rm", "-f", "web"]).succeeds();
}

/// A script's `command &` and its children ignore SIGINT and SIGQUIT, but processes in a container do not.
#[test]
fn ignored_signals_stay_outside() {
    let home = with_web();
    for (flags, name) in [("exec", "exec"), ("exec -d", "detached")] {
        let line = format!(
            "trap '' INT QUIT USR1; box {flags} web cp /proc/self/status /status-of-{name}"
        );
        box_tests::Outcome::of(home.shell(&line), b"").succeeds();
        let path = format!("/status-of-{name}");
        crate::until(&home, "it is written", || {
            home.run(["exec", "web", "grep", "SigCgt", &path]).status == 0
        });
        let ignored = home
            .run(["exec", "web", "grep", "SigIgn", &path])
            .succeeds();
        assert_eq!(ignored.text(), "SigIgn:\t0000000000000000", "{flags}");
    }
    home.run(["rm", "-f", "web"]).succeeds();
}

/// Joining needs one more process for a moment; with a profile that forbids it the error says so.
#[test]
fn a_profile_without_fork_is_named() {
    let home = Home::with_alpine();
    let profile = home.path().join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["clone","clone3","fork","vfork"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).unwrap();
    let profile = profile.to_str().unwrap();
    home.run([
        "run",
        "-d",
        "--name",
        "alone",
        "--seccomp",
        profile,
        "alpine",
        "sleep",
        "1000",
    ])
    .succeeds();
    home.run(["exec", "alone", "true"])
        .fails(&["enter the pid namespace"])
        .hints(&["seccomp profile"]);
    home.run(["rm", "-f", "alone"]).succeeds();
    // The filter does not apply to the execution of the command itself: execveat need not be allowed.
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["execveat","memfd_create","close_range"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(profile, text).unwrap();
    for flags in [&[][..], &["--init"]] {
        let mut args = vec!["run", "--rm", "--seccomp", profile];
        args.extend(flags);
        args.extend(["alpine", "echo", "done"]);
        assert_eq!(home.run(args).succeeds().text(), "done");
    }
}
