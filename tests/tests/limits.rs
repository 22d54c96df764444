//! Limits of containers on the real control groups of this machine. The same tests run on v1 and hybrid hosts and, in a
//! virtual machine (scripts/vm-test), on v2.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use box_tests::{Home, Outcome, binary};

/// Whether this host has cgroup v2 alone.
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Groups whose names begin with `box-` and this instance's name.
fn groups(name: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let roots = roots
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .filter(|root| root.is_dir());
    let entries = roots.flat_map(|root| std::fs::read_dir(root).unwrap().flatten());
    let prefix = format!("box-{name}-");
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// A name that no other test uses at this time.
fn name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

/// Reads a file of the container's own group, by its name on v1 (with its controller) and on v2.
fn group_file(home: &Home, flags: &[&str], v1: &str, v2: &str) -> String {
    let path = format!("/sys/fs/cgroup/{}", if is_unified() { v2 } else { v1 });
    let mut args = vec!["run", "--rm", "--net", "none"];
    args.extend(flags);
    args.extend(["alpine", "cat", &path]);
    home.run(args).succeeds().text().to_owned()
}

/// A container in the background, ended when the value is dropped.
struct Background<'a> {
    home: &'a Home,
    name: String,
    child: Child,
}

impl<'a> Background<'a> {
    fn start(home: &'a Home, name: &str, flags: &[&str], script: &str) -> Self {
        let mut args = vec!["run", "--name", name];
        args.extend(flags);
        args.extend(["alpine", "sh", "-c", script]);
        let child = home
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        let started = Background {
            home,
            name: name.to_owned(),
            child: child.unwrap(),
        };
        started.until("it runs", || started.status() == "running");
        started
    }

    fn status(&self) -> String {
        let rows = self
            .home
            .run(["ps", "-a", "--format", "json"])
            .succeeds()
            .json();
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == *self.name);
        row.map_or(String::new(), |row| {
            row["status"].as_str().unwrap().to_owned()
        })
    }

    fn stats(&self) -> serde_json::Value {
        self.home
            .run(["stats", "--no-stream", "--format", "json", &self.name])
            .succeeds()
            .json()[0]
            .clone()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..1200 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}: waited in vain until {what}", self.name);
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        let removed = Outcome::of(self.home.command(["rm", "-f", &self.name]), b"");
        self.child.wait().unwrap();
        if !std::thread::panicking() {
            removed.succeeds();
            assert!(groups(&self.name).is_empty());
        }
    }
}

#[test]
fn a_container_that_needs_too_much_memory_is_killed_and_told_why() {
    let home = Home::with_alpine();
    let report = home.path().join("report.json");
    let name = name("hog");
    let hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    let mut args = vec![
        "run",
        "--rm",
        "--name",
        &name,
        "--memory",
        "32m",
        "--report",
        report.to_str().unwrap(),
        "alpine",
    ];
    args.extend(hog);
    let told = format!("{name} was killed: it used more than --memory 32m (peak 3");
    home.run(args)
        .fails_with(137, &[&told, " MiB)"])
        .hints(&["--memory 64m"]);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(
        (report["reason"].as_str(), report["status"].as_u64()),
        (Some("oom"), Some(137))
    );
    assert!(report["peak_memory"].as_u64().unwrap() <= 32 << 20);
    assert!(groups(&name).is_empty());
}

#[test]
fn it_is_told_when_a_child_of_the_shell_was_killed_too() {
    let home = Home::with_alpine();
    let script = "dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?";
    home.run(["run", "--rm", "-m", "32m", "alpine", "sh", "-c", script])
        .fails_with(137, &["--memory 32m"]);
    // Within the limit all is well, and death by another signal is not blamed on memory.
    home.run(["run", "--rm", "-m", "64m", "alpine", "true"])
        .succeeds();
    let killed = home
        .run([
            "run",
            "--rm",
            "-m",
            "64m",
            "alpine",
            "sh",
            "-c",
            "sh -c 'kill -9 $$'; exit $?",
        ])
        .exits(137);
    assert!(!killed.stderr.contains("error: "), "{}", killed.stderr);
}

#[test]
fn the_pids_limit_is_4096_or_what_was_asked_for() {
    let home = Home::with_alpine();
    let pids = |flags: &[&str]| group_file(&home, flags, "pids/pids.max", "pids.max");
    assert_eq!(pids(&[]), "4096");
    assert_eq!(pids(&["--pids-limit", "17"]), "17");
    assert_eq!(pids(&["--pids-limit", "-1"]), "max");
    let script = "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done";
    let refused = home.run([
        "run",
        "--rm",
        "--pids-limit",
        "20",
        "alpine",
        "sh",
        "-c",
        script,
    ]);
    assert!(refused.stderr.contains("fork"), "{}", refused.stderr);
    assert_ne!(refused.status, 0);
}

#[test]
fn a_fork_bomb_ends_in_the_container_and_leaves_the_host_responsive() {
    let home = Home::with_alpine();
    let name = name("bomb");
    let bomb = "exec 2>/dev/null; b() { b | b & }; b; exec sleep 1000";
    let running = Background::start(&home, &name, &["--pids-limit", "256"], bomb);
    running.until("it has all the processes it may have", || {
        running.stats()["pids"].as_u64() >= Some(250)
    });
    // The host still makes processes, and so does another container.
    assert!(Command::new("true").status().unwrap().success());
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    assert!(running.stats()["pids"].as_u64() <= Some(256));
    // Dropping it kills hundreds of processes that fork as fast as they can.
}

#[test]
fn half_a_cpu_is_half_a_cpu() {
    let home = Home::with_alpine();
    let name = name("half");
    let spin = "while :; do :; done & while :; do :; done";
    // Its share of the CPUs is large, so that other work of this machine does not keep it below its limit.
    let flags = ["--cpus", "0.5", "--cpu-shares", "100000"];
    let running = Background::start(&home, &name, &flags, spin);
    let used = || {
        (
            running.stats()["cpu_nanoseconds"].as_u64().unwrap() as f64 / 1e9,
            Instant::now(),
        )
    };
    // A reading comes some time after the moment it is about, on a busy machine quite some: the best of several counts.
    let mut shares = Vec::new();
    for _ in 0..5 {
        let (before, began) = used();
        std::thread::sleep(Duration::from_secs(2));
        let (after, ended) = used();
        let share = (after - before) / ended.duration_since(began).as_secs_f64();
        shares.push(share);
        if (0.4..=0.6).contains(&share) {
            return;
        }
    }
    panic!("it did not have its share: {shares:?}");
}

#[test]
fn a_report_counts_children_that_nobody_waited_for() {
    let home = Home::with_alpine();
    let report = home.path().join("report.json");
    let spin = "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo >/done) & while [ ! -e /done ]; do sleep 0.1; done";
    let args = [
        "run",
        "--rm",
        "--report",
        report.to_str().unwrap(),
        "alpine",
        "sh",
        "-c",
        spin,
    ];
    home.run(args).succeeds();
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(report["cpu_seconds"].as_f64().unwrap() > 0.1, "{report}");
}

#[test]
fn every_flag_reaches_its_file() {
    let home = Home::with_alpine();
    let file = |flags: &[&str], v1: &str, v2: &str| group_file(&home, flags, v1, v2);
    let memory = ["--memory", "64m", "--memory-reservation", "32m"];
    assert_eq!(
        file(&memory, "memory/memory.limit_in_bytes", "memory.max"),
        "67108864"
    );
    assert_eq!(
        file(&memory, "memory/memory.soft_limit_in_bytes", "memory.low"),
        "33554432"
    );
    let swap = ["--memory", "64m", "--memory-swap", "96m"];
    let expected = if is_unified() {
        "33554432"
    } else {
        "100663296"
    };
    assert_eq!(
        file(
            &swap,
            "memory/memory.memsw.limit_in_bytes",
            "memory.swap.max"
        ),
        expected
    );
    let expected = if is_unified() {
        "150000 100000"
    } else {
        "150000"
    };
    assert_eq!(
        file(&["--cpus", "1.5"], "cpu/cpu.cfs_quota_us", "cpu.max"),
        expected
    );
    let expected = if is_unified() { "200" } else { "2048" };
    assert_eq!(
        file(&["--cpu-weight", "200"], "cpu/cpu.shares", "cpu.weight"),
        expected
    );
    assert_eq!(
        file(&["--cpu-shares", "2048"], "cpu/cpu.shares", "cpu.weight"),
        expected
    );
    assert_eq!(
        file(&["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "cpuset.cpus"),
        "0"
    );
    let score = home.run([
        "run",
        "--rm",
        "--oom-score-adj",
        "500",
        "alpine",
        "cat",
        "/proc/self/oom_score_adj",
    ]);
    assert_eq!(score.succeeds().text(), "500");
}

#[test]
fn a_limit_that_cannot_be_set_names_controller_and_file_and_leaves_nothing() {
    let home = Home::with_alpine();
    let name = name("refused");
    let args = [
        "run",
        "--rm",
        "--name",
        &name,
        "--cpuset-cpus",
        "4000",
        "alpine",
        "true",
    ];
    home.run(args).fails(&[
        "cpus 4000",
        "cpuset controller",
        "/cpuset.cpus",
        "the kernel does not accept",
    ]);
    assert!(groups(&name).is_empty());
    assert_eq!(home.instances(), [""; 0]);
    for (flag, value) in [
        ("--memory", "1m"),
        ("--cpus", "0"),
        ("--pids-limit", "-5"),
        ("--memory-swap", "1g"),
    ] {
        let refused = home.run(["run", "--rm", flag, value, "alpine", "true"]);
        assert!(
            refused.stderr.contains(flag) && refused.status == 125,
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn a_paused_container_does_nothing_until_it_is_unpaused() {
    let home = Home::with_alpine();
    let name = name("paused");
    let count = home.path().join("count");
    std::fs::create_dir(&count).unwrap();
    let volume = format!("{}:/count", count.display());
    let running = Background::start(
        &home,
        &name,
        &["-v", &volume],
        "while :; do echo . >>/count/file; done",
    );
    let size = || std::fs::metadata(count.join("file")).map_or(0, |file| file.len());
    running.until("it counts", || size() > 0);
    home.run(["pause", &name]).succeeds();
    assert_eq!(running.status(), "paused");
    let frozen = size();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(size(), frozen);
    home.run(["unpause", &name]).succeeds();
    assert_eq!(running.status(), "running");
    running.until("it counts again", || size() > frozen);
    // A paused container can be removed, too.
    home.run(["pause", &name]).succeeds();
}

#[test]
fn limits_change_while_it_runs_and_for_the_next_start() {
    let home = Home::with_alpine();
    let name = name("updated");
    let running = Background::start(
        &home,
        &name,
        &["--memory", "64m"],
        "while :; do sleep 1; done",
    );
    assert_eq!(running.stats()["memory_limit"].as_u64(), Some(64 << 20));
    home.run([
        "update",
        "--memory",
        "128m",
        "--pids-limit",
        "77",
        "--cpus",
        "1",
        &name,
    ])
    .succeeds();
    let stats = running.stats();
    assert_eq!(
        (stats["memory_limit"].as_u64(), stats["pids_limit"].as_u64()),
        (Some(128 << 20), Some(77))
    );
    let config = std::fs::read(
        home.root()
            .join("instances")
            .join(&name)
            .join("config.json"),
    )
    .unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        config["linux"]["resources"]["memory"]["limit"].as_u64(),
        Some(128 << 20)
    );
    assert_eq!(
        config["linux"]["resources"]["cpu"]["quota"].as_u64(),
        Some(100_000)
    );
    home.run(["update", &name]).fails(&["no limit"]);
    home.run(["update", "--memory", "64m", "nobody"])
        .fails(&["nobody"]);
}

#[test]
fn stats_tell_what_is_used() {
    let home = Home::with_alpine();
    let name = name("stats");
    let running = Background::start(&home, &name, &["--memory", "64m"], "while :; do :; done");
    running.until("it used the cpu", || {
        running.stats()["cpu_percent"].as_f64() > Some(1.0)
    });
    let stats = running.stats();
    assert!(
        stats["memory"].as_u64() > Some(0)
            && stats["memory_peak"].as_u64() >= stats["memory"].as_u64()
    );
    assert_eq!(
        (stats["pids"].as_u64(), stats["pids_limit"].as_u64()),
        (Some(1), Some(4096))
    );
    let table = home.run(["stats", "--no-stream"]).succeeds();
    assert!(
        table.text().starts_with("NAME") && table.text().contains(&name),
        "{}",
        table.text()
    );
    assert!(
        table.text().contains("64.0 MiB") && table.text().contains("1 / 4096"),
        "{}",
        table.text()
    );
}

#[test]
fn devices_are_confined_even_for_one_that_makes_nodes() {
    let home = Home::with_alpine();
    let run = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["alpine", "sh", "-c", script]);
        home.run(args)
    };
    let denied = run(&["--cap-add", "MKNOD"], "mknod /tmp/disk b 8 0");
    assert!(
        denied.status != 0 && denied.stderr.contains("Operation not permitted"),
        "{}",
        denied.stderr
    );
    run(
        &["--cap-add", "MKNOD"],
        "mknod /dev/other c 1 3 && echo x >/dev/other",
    )
    .succeeds();
    // A device is given with the access that was asked for and no more: the capability alone would allow both.
    for (access, allowed, refused) in [("r", "3<", "3>"), ("w", "3>", "3<")] {
        let device = format!("/dev/kmsg:/dev/given:{access}");
        let flags = ["--cap-add", "SYSLOG", "--device", &device];
        run(&flags, &format!("exec {allowed}/dev/given")).succeeds();
        let denied = run(&flags, &format!("exec {refused}/dev/given"));
        assert!(
            denied.stderr.contains("Operation not permitted"),
            "{access}: {}",
            denied.stderr
        );
    }
}

#[test]
fn containers_are_made_in_the_group_that_was_delegated() {
    let home = Home::with_alpine();
    let args = [
        "run",
        "--rm",
        "--cgroupns",
        "host",
        "--net",
        "none",
        "alpine",
        "cat",
        "/proc/self/cgroup",
    ];
    if !is_unified() {
        let own = home.run(args).succeeds();
        assert!(
            own.text().lines().any(|line| line.contains(":pids:/box-")),
            "{}",
            own.text()
        );
        return;
    }
    let delegated = Path::new("/sys/fs/cgroup").join(name("delegated"));
    let leaf = delegated.join("leaf");
    std::fs::create_dir_all(&leaf).unwrap();
    // As systemd marks a service with Delegate=yes.
    rustix::fs::setxattr(
        &delegated,
        "trusted.delegate",
        b"1",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let procs = leaf.join("cgroup.procs").display().to_string();
    let inner = home.command(args);
    let mut outer = Command::new("sh");
    outer
        .args(["-c", &format!("echo $$ >{procs} && exec \"$@\""), "sh"])
        .arg(binary::path())
        .args(args);
    outer.current_dir(home.path()).envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let own = Outcome::of(outer, b"").succeeds();
    let inside = format!(
        "0::/{}/box-",
        delegated.file_name().unwrap().to_string_lossy()
    );
    assert!(own.text().starts_with(&inside), "{}", own.text());
    std::fs::remove_dir(&leaf).unwrap();
    std::fs::remove_dir(&delegated).unwrap();
}

/// Runs box where a script has changed the mounts, in a mount namespace of its own.
fn with_mounts(home: &Home, script: &str, args: &[&str]) -> Outcome {
    let inner = home.command(args);
    let mut outer = Command::new("unshare");
    outer
        .args(["-m", "sh", "-c", &format!("{script}; exec \"$@\""), "sh"])
        .arg(binary::path())
        .args(args);
    outer.current_dir(home.path()).envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    outer.process_group(0);
    Outcome::of(outer, b"")
}

#[test]
fn without_usable_cgroups_it_starts_without_limits_and_one_warning() {
    let home = Home::with_alpine();
    let absent = "mount -t tmpfs none /sys/fs/cgroup";
    // The last of these mounts hides what the host's distribution mounted there.
    let read_only = "for place in /sys/fs/cgroup /sys/fs/cgroup/*; do \
                     if grep -q \" $place cgroup\" /proc/mounts; then mount -o remount,bind,ro \"$place\"; fi; done";
    for script in [absent, read_only] {
        let plain =
            with_mounts(&home, script, &["run", "--rm", "alpine", "echo", "started"]).succeeds();
        assert_eq!(plain.text(), "started");
        let warnings: Vec<&str> = plain
            .stderr
            .lines()
            .filter(|line| line.starts_with("warning: "))
            .collect();
        assert_eq!(warnings.len(), 1, "{script}:\n{}", plain.stderr);
        assert!(warnings[0].contains("without limits"), "{}", warnings[0]);
        let asked = with_mounts(
            &home,
            script,
            &["run", "--rm", "--memory", "64m", "alpine", "true"],
        );
        asked.fails(&["memory limit 64.0 MiB cannot be enforced", "/sys/fs/cgroup"]);
        let nodes = with_mounts(
            &home,
            script,
            &["run", "--rm", "--cap-add", "MKNOD", "alpine", "true"],
        );
        nodes.fails(&["devices cannot be enforced"]);
    }
}
