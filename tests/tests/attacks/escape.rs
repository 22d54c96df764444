//! Escapes through resources of the container: descriptors, directories, processes, the terminal, volumes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use box_tests::{Home, Outcome, binary};

use crate::attack;

/// A file that exists only on the host.
fn marker(home: &Home) -> String {
    let marker = home.path().join("marker");
    std::fs::write(&marker, "of the host").unwrap();
    marker.display().to_string()
}

/// Runs box from a shell that holds descriptors of the host's file system.
fn with_descriptors(home: &Home, args: &[&str]) -> Outcome {
    let inner = home.command(args);
    let mut outer = Command::new("sh");
    let script = "exec 3</ 4</etc 5</proc 6<. 7</ 8</ 9</; exec \"$@\"";
    outer
        .args(["-c", script, "sh"])
        .arg(binary::path())
        .args(args)
        .current_dir(home.path());
    outer.envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    Outcome::of(outer, b"")
}

#[test]
fn no_descriptor_of_the_host_is_handed_down() {
    let home = Home::with_alpine();
    let volume = crate::volume();
    let args = [
        "run",
        "--rm",
        "-v",
        &volume,
        "alpine",
        "/attack",
        "descriptors",
    ];
    assert_eq!(with_descriptors(&home, &args).succeeds().text(), "");
}

/// CVE-2024-21626: the working directory is a descriptor of the host that leaked into the set-up.
#[test]
fn a_working_directory_cannot_lead_out_through_a_descriptor() {
    let home = Home::with_alpine();
    let marker = marker(&home);
    for number in 3..14 {
        for place in ["self", "thread-self", "1"] {
            if place != "self" && number > 5 {
                continue;
            }
            let cwd = format!("/proc/{place}/fd/{number}");
            let script = format!("cat ../../../../../../..{marker} .{marker}");
            let run = with_descriptors(
                &home,
                &["run", "--rm", "-w", &cwd, "alpine", "sh", "-c", &script],
            );
            assert!(
                !run.stdout.windows(11).any(|text| text == b"of the host"),
                "{cwd}"
            );
            assert_ne!(run.status, 0, "{cwd}");
        }
    }
}

#[test]
fn a_chroot_is_left_into_the_container_only() {
    let home = Home::with_alpine();
    let marker = marker(&home);
    assert_eq!(
        attack(&home, &[], &["chroot", &marker]),
        "found ENOENT\nown DONE"
    );
}

#[test]
fn processes_of_the_host_are_not_traced_and_their_roots_not_entered() {
    let home = Home::with_alpine();
    let marker = marker(&home);
    // In a namespace of its own there is no process but the container's.
    let own = home.sh("ls -d /proc/[0-9]* | wc -l").succeeds();
    assert!(
        own.text().trim().parse::<u32>().unwrap() <= 4,
        "{}",
        own.text()
    );
    home.sh(&format!("ls /proc/1/root{marker}")).exits(1);
    let host = std::process::id().to_string();
    let script = format!(
        "ls /proc/{host}/root/ || ls /proc/{host}/cwd/ || cat /proc/{host}/environ || cat /proc/1/environ"
    );
    let looked = home.run([
        "run", "--rm", "--pid", "host", "alpine", "sh", "-c", &script,
    ]);
    assert!(
        looked.status != 0 && looked.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&looked.stdout)
    );
    assert_eq!(
        attack(&home, &["--pid", "host"], &["trace", &host]),
        "attach EPERM"
    );
}

#[test]
fn nothing_is_typed_into_the_callers_terminal() {
    let home = Home::with_alpine();
    let volume = crate::volume();
    // With the caller's terminal itself on stdin, as no terminal of its own was made.
    let script = format!(
        "{} run --rm -i -v {volume} alpine /attack type | cat",
        binary::path().display()
    );
    let inner = home.command(["version"]);
    let mut outer = Command::new("sh");
    outer.args(["-c", &script]).current_dir(home.path());
    outer.envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let mut terminal = box_tests::Terminal::start(&outer);
    terminal.expect("type E");
    assert_eq!(terminal.wait(), 0);
    assert!(
        !terminal.transcript().contains("DONE"),
        "{}",
        terminal.transcript()
    );
}

/// CVE-2021-30465: a directory of one volume, the target of another mount, is swapped for a link during that mount.
#[test]
fn a_mount_target_that_is_swapped_for_a_link_does_not_lead_out() {
    let home = Home::with_alpine();
    let marker = marker(&home);
    let shared = home.path().join("shared");
    std::fs::create_dir_all(shared.join("target")).unwrap();
    std::fs::create_dir(home.path().join("inner")).unwrap();
    let first = format!("{}:/shared", shared.display());
    let second = format!(
        "{}:/shared/target/place",
        home.path().join("inner").display()
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (directory, link) = (shared.join("target"), shared.join("link"));
            symlink("/", &link).unwrap();
            while !done.load(Ordering::Relaxed) {
                // Both names change places at once, as the attack did it.
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &directory,
                    rustix::fs::CWD,
                    &link,
                    flags,
                )
                .unwrap();
            }
        });
        for _ in 0..20 {
            let script = format!(
                "ls /shared/target/place/..{marker} /shared/target{marker} /shared/link{marker}; true"
            );
            let args = [
                "run", "--rm", "-v", &first, "-v", &second, "alpine", "sh", "-c", &script,
            ];
            // Some starts are refused, as there is a link where a directory was; none may reach the host.
            let run = Outcome::of(home.command(args), b"");
            if !run.stdout.is_empty() {
                done.store(true, Ordering::Relaxed);
                panic!("reached {}", run.text());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(
        !std::path::Path::new("/place").exists(),
        "a mount point was made on the host"
    );
}

#[test]
fn set_user_id_programs_of_a_volume_gain_nothing_with_nosuid() {
    let home = Home::with_alpine();
    let volume = home.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::copy("/usr/bin/busybox", volume.join("busybox"))
        .or_else(|_| std::fs::copy("/bin/busybox", volume.join("busybox")))
        .unwrap();
    std::fs::set_permissions(volume.join("busybox"), PermissionsExt::from_mode(0o4755)).unwrap();
    let id = |options: &str| {
        let volume = format!("{}:/v{options}", volume.display());
        home.run([
            "run",
            "--rm",
            "-u",
            "1000",
            "-v",
            &volume,
            "alpine",
            "/v/busybox",
            "id",
            "-u",
        ])
        .succeeds()
        .text()
        .to_owned()
    };
    assert_eq!(id(":nosuid"), "1000");
}
