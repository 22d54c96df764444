//! The host's own binary of box, which every container comes from.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use box_tests::{Home, Outcome, binary};

use crate::volume;

/// The bytes of box before and after.
fn unharmed(act: impl FnOnce()) {
    let before = std::fs::read(binary::path()).unwrap();
    act();
    assert!(
        std::fs::read(binary::path()).unwrap() == before,
        "the binary of box was changed"
    );
}

/// Root may write to the image's own programs when they have ended, and to nothing else.
#[track_caller]
fn assert_nothing_of_the_hosts_is_written(told: &str) {
    let written = told
        .lines()
        .filter_map(|line| line.strip_prefix("OVERWRITTEN "));
    for program in written {
        assert_eq!(program, "/bin/busybox");
    }
}

/// CVE-2019-5736: the command is the runtime's own program, by a link or by an interpreter line.
#[test]
fn the_hosts_program_is_not_executed_by_its_own_link() {
    let home = Home::with_alpine();
    let script = home.path().join("script");
    std::fs::File::create(&script)
        .unwrap()
        .write_all(b"#!/proc/self/exe\n")
        .unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let shown = format!("{}:/script", script.display());
    unharmed(|| {
        for command in [
            "/proc/self/exe",
            "/proc/1/exe",
            "/proc/thread-self/exe",
            "/script",
        ] {
            let run = home.run(["run", "--rm", "-v", &shown, "alpine", command, "--version"]);
            assert!(
                !run.stdout.starts_with(b"box "),
                "{command} executed the host's box"
            );
            assert_ne!(run.status, 0, "{command}");
        }
    });
}

/// The other way round: what comes into a container is watched by it, and its program written to.
#[test]
fn the_hosts_program_is_not_written_to_by_a_container_that_is_entered() {
    let home = Home::with_alpine();
    let name = format!("watcher-{}", std::process::id());
    let volume = volume();
    unharmed(|| {
        home.run([
            "run",
            "-d",
            "--name",
            &name,
            "-v",
            &volume,
            "alpine",
            "/attack",
            "overwrite",
        ])
        .succeeds();
        for _ in 0..20 {
            Outcome::of(home.command(["exec", &name, "true"]), b"");
        }
        let log = home.run(["logs", &name]).succeeds();
        assert_nothing_of_the_hosts_is_written(log.text());
        home.run(["rm", "-f", &name]).succeeds();
    });
    assert!(Path::new(binary::path()).exists());
}

/// PID 1 of `--init` is no copy of box, whatever the container may do to it.
#[test]
fn the_init_process_shows_nothing_of_the_hosts_program() {
    let home = Home::with_alpine();
    let volume = volume();
    let size = std::fs::metadata(binary::path()).unwrap().len();
    let script = "readlink /proc/1/exe; wc -c </proc/1/exe; ls /proc/1/fd | wc -l; \
                  echo x >/proc/1/exe; cp /proc/1/exe /copy; timeout 1 /attack overwrite";
    unharmed(|| {
        for flags in [
            &["--cap-add", "SYS_PTRACE"][..],
            &["--cap-add", "ALL", "--seccomp", "unconfined"],
            &["--cap-add", "ALL", "--userns", "auto"],
            &["-u", "1000"],
        ] {
            let mut args = vec!["run", "--rm", "--init", "-v", &volume];
            args.extend(flags);
            args.extend(["alpine", "sh", "-c", script]);
            let run = home.run(args);
            // Linux before 6.3 maps no ids on tmpfs, where the second kernel's tests are.
            if run.status == 125 && run.stderr.contains("map the ids of") {
                // Past the harness, which keeps what a passing test prints to itself.
                let told = format!("NOT RUN with {flags:?}: {}", run.stderr);
                std::io::stderr().write_all(told.as_bytes()).unwrap();
                continue;
            }
            let lines: Vec<&str> = run.text().lines().collect();
            assert_eq!(
                lines.first(),
                Some(&"/memfd:box-init (deleted)"),
                "{flags:?} {run:?}"
            );
            let found: u64 = lines[1].trim().parse().unwrap();
            assert!(found < 10_000 && found < size / 100, "{found} bytes");
            assert_eq!(lines[2].trim(), "0", "{flags:?}");
            assert_nothing_of_the_hosts_is_written(run.text());
        }
    });
}
