//! No inode of the host can be changed: a container gets its own inodes, or read-only ones.

use std::collections::HashSet;
use std::os::unix::fs::DirEntryExt;
use std::process::Stdio;

use box_tests::Home;

/// The device numbers of all file systems that are mounted on the host: others belong to a container.
fn of_the_host() -> HashSet<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let device = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    mounts.lines().filter_map(device).collect()
}

/// The lines of `attack inodes` that are about file systems of the host.
fn changed(output: &str) -> Vec<String> {
    let host = of_the_host();
    let is_host = |line: &&str| host.contains(line.split(' ').next().unwrap_or_default());
    output.lines().filter(is_host).map(str::to_owned).collect()
}

/// Runs the attack with an empty stdin and returns the inodes of the host that it could change.
#[track_caller]
fn attack(home: &Home, flags: &[&str]) -> Vec<String> {
    let volume = crate::volume();
    let mut args = vec!["run", "--rm", "-v", &volume];
    args.extend(flags);
    args.extend(["alpine", "/attack", "inodes"]);
    let mut command = home.command(args);
    let run = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let run = run.unwrap();
    let output = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{flags:?}");
    assert!(
        !output.is_empty(),
        "{flags:?}: what is its own it can change"
    );
    changed(&output)
}

#[test]
fn nothing_that_a_container_is_given_is_an_inode_of_the_host_that_it_can_change() {
    let home = Home::with_alpine();
    for flags in [
        &[][..],
        &["--read-only", "--cap-drop", "ALL"],
        &["--userns", "300000:65536"],
        &["--userns", "300000:65536", "--net", "none", "--read-only"],
        &["--init"],
        &["-t"],
        &["--net", "none"],
        &["--ipc", "private", "--uts", "host", "--cgroupns", "host"],
        &["--device", "/dev/kmsg"],
        &["--device", "/dev/zero:/dev/null"],
        &["--storage", "copy"],
        &["-u", "1000"],
        &["--tmpfs", "/dev/shm", "--tmpfs", "/scratch"],
        &["--tmpfs", "/dev"],
    ] {
        let mut found = attack(&home, flags);
        // The root of a copy, and the files below /etc where there is no /dev of box's to keep them in, are on the host's disk, in a
        // directory that goes with the container.
        found.retain(|line| match flags {
            ["--storage", "copy"] => !line.ends_with(" /"),
            ["--tmpfs", "/dev"] => !line.contains(" /etc/"),
            _ => true,
        });
        assert_eq!(found, [] as [String; 0], "{flags:?}");
    }
}

/// In a user namespace the device nodes are the host's, and masks in a foreign /dev use its null device.
#[test]
fn where_the_host_lends_its_devices_they_open_and_do_not_change() {
    let home = Home::with_alpine();
    let script = "echo x >/dev/null && head -c 1 /dev/zero | wc -c && ! touch -c /dev/null /dev/full 2>/dev/null && \
                  ! touch -c /proc/interrupts 2>/dev/null && wc -c </proc/interrupts";
    let args = [
        "run",
        "--rm",
        "--userns",
        "300000:65536",
        "alpine",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(home.run(args).succeeds().text(), "1\n0");
    let script = "! chmod 666 /proc/interrupts 2>/dev/null && ! chmod 666 /proc/self/fd/0 2>/dev/null && \
                  ! touch -c /proc/interrupts 2>/dev/null && wc -c </proc/interrupts && cat";
    let dev = home.path().join("dev");
    std::fs::create_dir(&dev).unwrap();
    let dev = format!("{}:/dev", dev.display());
    let args = ["run", "--rm", "-v", &dev, "alpine", "sh", "-c", script];
    let mut command = home.command(args);
    let run = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(
        (
            String::from_utf8_lossy(&run.stdout).trim(),
            run.status.code()
        ),
        ("0", Some(0)),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// A background container, and commands that join it, with and without an open other end.
#[test]
fn nor_is_one_of_the_descriptors_of_what_runs_in_the_background() {
    let home = Home::with_alpine();
    let volume = crate::volume();
    for (name, flags) in [
        ("plain", &[][..]),
        ("kept", &["-i"]),
        ("other", &["-i", "-u", "1000"]),
    ] {
        let mut args = vec!["run", "-d", "--name", name, "-v", &volume];
        args.extend(flags);
        let script =
            "/attack inodes >/tmp/first; readlink /proc/self/fd/0 >/tmp/stdin; exec sleep 600";
        args.extend(["alpine", "sh", "-c", script]);
        home.run(args).succeeds();
        home.run([
            "exec",
            "-d",
            name,
            "sh",
            "-c",
            "/attack inodes >/tmp/second; : >/tmp/done",
        ])
        .succeeds();
        let wait = "until [ -e /tmp/done ]; do sleep 0.05; done; cat /tmp/first /tmp/second; /attack inodes";
        let mut command = home.command(["exec", name, "sh", "-c", wait]);
        let output = command.stdin(Stdio::null()).output().unwrap().stdout;
        let output = String::from_utf8(output).unwrap();
        // Its own files on disk, which go with it, are what it may change. The log has tests of its own.
        let mine = home.root().join("instances").join(name);
        let mut own = HashSet::new();
        for directory in [mine.clone(), mine.join("log")] {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            own.extend(entries.map(|entry| entry.ino().to_string()));
        }
        let is_own = |line: &String| {
            line.split(' ')
                .nth(1)
                .is_some_and(|inode| own.contains(inode))
        };
        let mut others = changed(&output);
        others.retain(|line| !is_own(line));
        assert_eq!(others, [] as [String; 0], "{name}");
        let stdin = home.run(["exec", name, "cat", "/tmp/stdin"]).succeeds();
        assert_eq!(
            stdin.text() == "/dev/null",
            flags.is_empty(),
            "{name}: {}",
            stdin.text()
        );
        home.run(["rm", "-f", name]).succeeds();
    }
}

/// The null device of the host as the caller's stdin, in a container that replaces its own null device.
#[test]
fn a_container_cannot_offer_another_device_for_null() {
    let home = Home::with_alpine();
    home.run([
        "run",
        "-d",
        "--name",
        "liar",
        "alpine",
        "sh",
        "-c",
        "rm /dev/null; mkfifo /dev/null; exec sleep 600",
    ])
    .succeeds();
    let ready = "until [ -p /dev/null ]; do sleep 0.05; done";
    home.run(["exec", "liar", "sh", "-c", ready]).succeeds();
    let script =
        "cat; stat -L -c %F /proc/self/fd/0; chmod 666 /proc/self/fd/0 2>&1 | grep -c Read-only";
    let mut command = home.command(["exec", "liar", "sh", "-c", script]);
    let run = command.stdin(Stdio::null()).output().unwrap();
    let output = String::from_utf8(run.stdout).unwrap();
    assert_eq!(output, "character special file\n1\n");
    home.run(["rm", "-f", "liar"]).succeeds();
}

/// The user of the command owns its pipes, so that /dev/stdin can be opened; a named pipe stays in the host's files.
#[test]
fn a_pipe_with_a_name_stays_whose_it_is() {
    use std::os::unix::fs::MetadataExt;
    let home = Home::with_alpine();
    let path = home.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let owner = || std::fs::metadata(&path).unwrap().uid();
    let before = owner();
    let line = "box run -d --name c alpine sleep 600 >&2; box run --rm -u 1000 alpine true <>pipe && box exec -u 1000 c true <>pipe";
    let status = home.shell(line).status().unwrap();
    assert!(status.success());
    assert_eq!(owner(), before);
    home.run(["rm", "-f", "c"]).succeeds();
}
