//! Attacks on the host's own binary of box, which starts every container.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

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

/// Root may write to the image's own programs after they have ended, and to nothing else.
#[track_caller]
fn assert_nothing_of_the_hosts_is_written(output: &str) {
    let written = output
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

/// A program whose loader is `interpreter`: one segment, and nothing in it. elf(5)
fn with_loader(interpreter: &str) -> Vec<u8> {
    let machine = if cfg!(target_arch = "aarch64") {
        183u16
    } else {
        62
    };
    let length = interpreter.len() as u64 + 1;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(3u16.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for number in [0x1000u64, 64, 0] {
        out.extend(number.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for number in [64u16, 56, 2, 0, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    // PT_INTERP, and PT_LOAD of a page.
    for (kind, offset, length) in [(3u32, 176u64, length), (1, 0, 4096)] {
        out.extend(kind.to_le_bytes());
        out.extend(5u32.to_le_bytes());
        for number in [
            offset,
            offset,
            offset,
            length,
            length,
            4096 - 4095 * u64::from(kind == 3),
        ] {
            out.extend(number.to_le_bytes());
        }
    }
    out.extend(interpreter.as_bytes());
    out.resize(4096, 0);
    out
}

/// Files whose execution leads the kernel to the program of the process that executes them.
fn set_traps(dir: &Path) {
    let traps: [(&str, u32, Vec<u8>); 6] = [
        ("script", 0o755, b"#!/proc/self/exe\n".to_vec()),
        (
            "unreadable",
            0o111,
            b"#!/proc/self/exe --version\n".to_vec(),
        ),
        ("thread", 0o755, b"#! /proc/thread-self/exe\n".to_vec()),
        ("chain", 0o755, b"#!/traps/unreadable\n".to_vec()),
        ("by-link", 0o755, b"#!/traps/link\n".to_vec()),
        ("loader", 0o111, with_loader("/proc/self/exe")),
    ];
    for (name, mode, content) in traps {
        std::fs::write(dir.join(name), content).unwrap();
        std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("/proc/self/exe", dir.join("link")).unwrap();
}

const TRAPS: [&str; 8] = [
    "/traps/script",
    "/traps/unreadable",
    "/traps/thread",
    "/traps/chain",
    "/traps/by-link",
    "/traps/loader",
    "/traps/link",
    "/proc/self/exe",
];

/// CVE-2019-5736: no command leads to the program of the host.
#[test]
fn the_hosts_program_is_never_what_runs_inside() {
    let home = Home::with_alpine();
    // A copy, as it would be changed where this fails.
    let own = home.path().join("own");
    std::fs::copy(binary::path(), &own).unwrap();
    let dir = home.path().join("traps");
    std::fs::create_dir(&dir).unwrap();
    for open in [home.path(), &dir] {
        std::fs::set_permissions(open, PermissionsExt::from_mode(0o755)).unwrap();
    }
    set_traps(&dir);
    let state = || {
        let found = std::fs::metadata(&own).unwrap();
        (found.mode(), found.uid(), found.ctime(), found.ctime_nsec())
    };
    let before = state();
    let run = |args: &[&str]| {
        let mut command = Command::new(&own);
        command.args(args).current_dir(home.path());
        for (name, value) in home.command([""; 0]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Outcome::of(command, b"")
    };
    let check = |args: &[&str]| {
        let ended = run(args);
        if ended.status == 125 && ended.stderr.contains("map the ids of") {
            return;
        }
        assert_eq!(ended.status, 126, "{args:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{args:?}: {ended:?}");
        let explained = ended.stderr.contains("box-init: this executes");
        assert!(explained, "{args:?}: {ended:?}");
    };
    let volume = format!("{}:/traps:ro", dir.display());
    for flags in [
        &[][..],
        &["--cap-drop", "ALL"],
        &["-u", "1000"],
        &["--init"],
        &["--userns", "auto", "--init", "-u", "1000"],
    ] {
        for trap in TRAPS {
            let mut args = vec!["run", "--rm", "-v", &volume];
            args.extend(flags);
            args.extend(["alpine", trap]);
            check(&args);
        }
    }
    run(&[
        "run",
        "--name",
        "again",
        "-v",
        &volume,
        "alpine",
        "/traps/chain",
    ])
    .exits(126);
    check(&["start", "-a", "again"]);
    let wait = [
        "run", "-d", "--name", "web", "-v", &volume, "alpine", "sleep", "1000",
    ];
    run(&wait).succeeds();
    for trap in TRAPS {
        check(&["exec", "web", trap]);
        check(&["exec", "-u", "1000", "web", trap]);
    }
    run(&["rm", "-f", "web", "again"]).succeeds();
    assert_eq!(state(), before);
}

/// With CAP_SYS_PTRACE a container stops each process that enters its pid namespace, and inspects it.
#[test]
fn a_process_that_enters_is_the_containers_from_the_first_moment() {
    let home = Home::with_alpine();
    let secret = home.path().join("of-the-host");
    std::fs::write(&secret, "").unwrap();
    let (volume, secret) = (volume(), secret.to_str().unwrap());
    let name = format!("seizer-{}", std::process::id());
    let start = [
        "run",
        "-d",
        "--name",
        &name,
        "--cap-add",
        "SYS_PTRACE",
        "-v",
        &volume,
        "alpine",
        "/attack",
        "seize",
        secret,
    ];
    home.run(start).succeeds();
    let own = home
        .run([
            "exec",
            &name,
            "grep",
            "-E",
            "^(CapEff|CapBnd|Seccomp):",
            "/proc/1/status",
        ])
        .succeeds();
    let own: Vec<&str> = own.text().lines().collect();
    assert_eq!(own.len(), 3);
    let mut seen = String::new();
    for _ in 0..200 {
        let mut command = home.command(["exec", "-e", "TOLD=inside", &name, "true"]);
        command.env("CALLERS", "secret");
        // It may be found dead by the time that it is let go.
        Outcome::of(command, b"");
        seen = home.run(["logs", &name]).succeeds().text().to_owned();
        if seen.matches("SEIZED").count() >= 20 {
            break;
        }
    }
    assert!(
        seen.contains("SEIZED"),
        "nothing was stopped in time: {seen}"
    );
    assert!(!seen.contains("REACHED"), "{seen}");
    assert!(!seen.contains("CALLERS"), "{seen}");
    for line in seen.lines() {
        if line.contains(":\t") {
            assert!(own.contains(&line), "{line} in {seen}");
        }
        if let Some(words) = line.strip_prefix("cmdline ") {
            assert!(!words.contains("TOLD") && !words.contains("exec"), "{line}");
        }
    }
    home.run(["rm", "-f", &name]).succeeds();
}

/// The reverse: the container watches the processes that enter it, and writes to their program.
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

/// PID 1 of `--init` is not a copy of box, whatever the container may do to it.
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
                let message = format!("NOT RUN with {flags:?}: {}", run.stderr);
                std::io::stderr().write_all(message.as_bytes()).unwrap();
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
