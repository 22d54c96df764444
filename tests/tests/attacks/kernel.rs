//! The kernel's dangerous calls and files.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use box_tests::Home;

use crate::attack;

#[test]
fn no_dangerous_call_passes() {
    let home = Home::with_alpine();
    for flags in [
        &[][..],
        &["--cap-drop", "ALL"],
        &["-u", "1000"],
        &["--no-new-privileges"],
    ] {
        let printed = attack(&home, flags, &["syscalls"]);
        assert!(printed.lines().count() > 35, "{printed}");
        for line in printed.lines() {
            let (call, answer) = line.split_once(' ').unwrap();
            let expected: &[&str] = match call {
                "clone3" | "future" => &["ENOSYS"],
                // A kernel without the other instruction sets has no such entry.
                "x32-unshare" | "old-unshare" | "old-mount" => &["EPERM", "ENOSYS"],
                _ => &["EPERM"],
            };
            assert!(expected.contains(&answer), "{flags:?}: {line}");
        }
    }
}

#[test]
fn what_controls_the_host_cannot_be_written() {
    let home = Home::with_alpine();
    let core = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let paths = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/pids/pids.max",
        "/sys/fs/cgroup/pids.max",
    ];
    for flags in [&[][..], &["--net", "none"], &["--cap-add", "NET_ADMIN"]] {
        let words: Vec<&str> = ["write"].iter().chain(&paths).copied().collect();
        let printed = attack(&home, flags, &words);
        for line in printed.lines() {
            assert!(!line.ends_with(" DONE"), "{flags:?}: {line}");
        }
        assert_eq!(printed.lines().count(), paths.len());
    }
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(),
        core
    );
}

#[test]
fn masked_files_are_empty() {
    let home = Home::with_alpine();
    let script = "for file in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/interrupts; do \
                  [ -e $file ] && wc -c <$file; done; ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | wc -w";
    let sizes = home.sh(script).succeeds();
    assert!(
        sizes.text().lines().all(|size| size.trim() == "0"),
        "{}",
        sizes.text()
    );
}

#[test]
fn devices_of_the_host_cannot_be_read() {
    let home = Home::with_alpine();
    let disks = std::fs::read_to_string("/proc/partitions").unwrap();
    let numbers = disks.lines().skip(2).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    let numbers: Vec<(String, String)> = numbers
        .take(3)
        .chain([("8".to_owned(), "0".to_owned())])
        .collect();
    for (major, minor) in numbers {
        let script = format!("mknod /dev/disk b {major} {minor}; head -c 512 /dev/disk");
        for flags in [&[][..], &["--cap-add", "MKNOD"]] {
            let mut args = vec!["run", "--rm"];
            args.extend(flags);
            args.extend(["alpine", "sh", "-c", &script]);
            let read = home.run(args);
            assert_ne!(read.status, 0, "{major}:{minor}");
            assert_eq!(read.stdout, b"");
            assert!(
                read.stderr.contains("Operation not permitted"),
                "{}",
                read.stderr
            );
        }
    }
}

#[test]
fn device_nodes_open_only_in_dev() {
    let home = Home::with_alpine();
    // A device that the container has: only the mount it lies on keeps it shut.
    let script = "mknod /tmp/null c 1 3 && : > /dev/null && : > /tmp/null";
    let made = home.run([
        "run",
        "--rm",
        "--cap-add",
        "MKNOD",
        "alpine",
        "sh",
        "-c",
        script,
    ]);
    assert_ne!(made.status, 0);
    assert!(
        made.stderr.contains("/tmp/null: Permission denied"),
        "{}",
        made.stderr
    );
}

#[test]
fn sockets_of_the_host_are_out_of_reach_without_its_network() {
    let home = Home::with_alpine();
    let name = format!("box-attack-{}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    assert_eq!(
        attack(&home, &["--net", "host"], &["abstract", &name]),
        "connect DONE"
    );
    assert_eq!(
        attack(&home, &["--net", "none"], &["abstract", &name]),
        "connect ECONNREFUSED"
    );
}
