//! box leaves nothing behind: after many runs, after a kill at any point of a start, and on a full disk.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use box_tests::{Home, Outcome, leftovers};

/// Everything below the home, except box's own records of last uses.
fn files(home: &Home) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            // Directories wait there for the next start, with what a kernel leaves in them and nothing of a container's.
            if entry.file_name().to_string_lossy().starts_with(".spare-") {
                let mut inside = vec![];
                walk(&entry.path(), &mut inside);
                let kernels = ["upper", "work", "volatile", "incompat", "dirty"];
                let strange = inside
                    .iter()
                    .filter(|path| !kernels.iter().any(|name| path.ends_with(name)));
                assert_eq!(strange.count(), 0, "{inside:?}");
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), found);
            }
            found.push(entry.path());
        }
    }
    let mut found = vec![];
    walk(home.path(), &mut found);
    found.sort();
    found
}

/// The holders of a network namespace: processes in it, or mounts of it; without either the kernel removes it.
#[track_caller]
fn assert_nothing_is_left(home: &Home, name: &str, before: &[PathBuf]) {
    let mut left = leftovers::of(home.path());
    left.extend(leftovers::cgroups(name));
    let after = files(home);
    let new = after.iter().filter(|path| !before.contains(path));
    left.extend(new.map(|path| format!("file: {}", path.display())));
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[test]
fn a_thousand_runs_leave_nothing() {
    const RUNS: usize = 1000;
    let home = Home::with_alpine();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let name = format!("many{}", std::process::id());
    let run = |number: usize| {
        let mut command = home.command(["run", "--rm", "--name", &format!("{name}-{number}")]);
        command.env("TMPDIR", &temporary);
        match number % 4 {
            0 => command.args(["--net", "none", "alpine", "true"]),
            1 => command.args(["alpine", "true"]),
            2 => command.args(["--init", "alpine", "true"]),
            _ => command.args(["--net", "none", "alpine", "nosuch"]),
        };
        Outcome::of(command, b"").exits(if number % 4 == 3 { 127 } else { 0 });
    };
    (0..4).for_each(run);
    let before = files(&home);
    let next = AtomicUsize::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= RUNS {
                        break;
                    }
                    run(number);
                }
            });
        }
    });
    assert_nothing_is_left(&home, &name, &before);
}

#[test]
fn killed_at_any_point_of_a_start_box_leaves_nothing_that_stays() {
    const KILLS: u32 = 160;
    let home = Home::with_alpine();
    let name = format!("killed{}", std::process::id());
    let start = |number: u32| {
        let name = format!("{name}-{number}");
        let mut command = home.command(["run", "--rm", "--name", &name, "--net", "none"]);
        if number.is_multiple_of(2) {
            command.arg("--init");
        }
        command
            .args(["alpine", "sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let begun = Instant::now();
    home.run(["run", "--rm", "--net", "none", "alpine", "true"])
        .succeeds();
    let whole = begun.elapsed();
    let before = files(&home);
    for number in 0..KILLS {
        let mut child = start(number);
        // Over the whole of a start, and somewhat beyond.
        std::thread::sleep(whole * number / (KILLS * 3 / 4));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Each command takes away some of what the dead left.
    let deadline = Instant::now() + Duration::from_secs(60);
    let states = || std::fs::read_dir(home.root().join("run")).map_or(0, |entries| entries.count());
    loop {
        home.run(["ps", "-a"]).succeeds();
        if states() == 0 && home.instances().is_empty() && leftovers::of(home.path()).is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{} states, instances {:?}, {:?}",
            states(),
            home.instances(),
            leftovers::of(home.path())
        );
    }
    assert_nothing_is_left(&home, &name, &before);
}

/// A separate file system, unmounted with all mounts in it.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path());
        assert!(mount.status().unwrap().success());
        Self(dir)
    }

    fn free(&self) -> u64 {
        rustix::fs::statvfs(self.0.path()).unwrap().f_bavail
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status()
            .ok();
    }
}

#[test]
fn a_run_on_a_full_disk_says_so_and_leaves_nothing() {
    let home = Home::new();
    let disk = Disk::new("32m");
    let root = disk.0.path().join("root");
    let on_disk = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("BOX_ROOT", &root);
        Outcome::of(command, b"")
    };
    let entries =
        |dir: &str| std::fs::read_dir(root.join(dir)).map_or(0, |entries| entries.count());
    on_disk(&["pull", "-q", "alpine"]).succeeds();
    on_disk(&["run", "--name", "kept", "alpine", "true"]).succeeds();
    // Not one page is left.
    let fill = disk.0.path().join("fill");
    let mut file = std::fs::File::create(&fill).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
    drop(file);
    assert_eq!(disk.free(), 0);
    let (instances, states) = (entries("instances"), entries("run"));
    for _ in 0..3 {
        on_disk(&["run", "--rm", "alpine", "true"]).fails(&["no space left on device"]);
        on_disk(&["run", "-d", "alpine", "sleep", "1000"]).fails(&["no space left on device"]);
    }
    assert_eq!((entries("instances"), entries("run")), (instances, states));
    // The disk itself.
    assert_eq!(leftovers::mounts(disk.0.path()).len(), 1);
    on_disk(&["rm", "kept"]).succeeds();
    assert_eq!(on_disk(&["ps", "-aq"]).succeeds().text(), "");
    std::fs::remove_file(&fill).unwrap();
    on_disk(&["run", "--rm", "alpine", "true"]).succeeds();
}
