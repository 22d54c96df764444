//! Hosts that delegate groups, have none, or are containers themselves.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use box_tests::{Home, Outcome, binary};

use crate::{Background, is_unified, name};

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

#[track_caller]
fn assert_warns_once(outcome: &box_tests::Outcome) {
    let warnings: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .collect();
    assert_eq!(warnings.len(), 1, "{outcome:?}");
    assert!(warnings[0].contains("without limits"), "{}", warnings[0]);
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
        assert_warns_once(&plain);
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

/// A container that may make containers, and box in it.
const OUTER: [&str; 10] = [
    "--cap-add",
    "SYS_ADMIN",
    "--cap-add",
    "MKNOD",
    "--seccomp",
    "unconfined",
    "--security-opt",
    "unmask=ALL",
    "--tmpfs",
    "/var/lib/box",
];

#[test]
fn box_runs_in_a_container_of_box_with_one_warning() {
    let home = Home::with_alpine();
    let program = format!("{}:/usr/bin/box:ro", binary::path().display());
    let cache = format!("{}:/cache", home.cache().display());
    let inside = |words: &str| {
        let mut args = vec!["run", "--rm", "--net", "none", "-v", &program, "-v", &cache];
        args.extend(OUTER);
        let script =
            format!("grep CapBnd /proc/self/status; exec box --cache /cache run --rm {words}");
        args.extend(["alpine", "sh", "-c", &script]);
        home.run(args)
    };
    let plain = inside("alpine sh -c 'echo pid $$'").succeeds();
    // The container is one more pid namespace deep, and its box has no CAP_SYS_RESOURCE (24).
    let lines: Vec<&str> = plain.text().lines().collect();
    assert_eq!(lines.last(), Some(&"pid 1"));
    let bounding = lines[0].rsplit('\t').next().unwrap();
    let bounding = u64::from_str_radix(bounding, 16).unwrap();
    assert_eq!(bounding >> 24 & 1, 0, "{bounding:x}");
    assert_warns_once(&plain);
    inside("--pids-limit 10 alpine true").fails(&[
        "pids limit 10 cannot be enforced",
        "/sys/fs/cgroup",
        "read-only file system",
    ]);
}

#[test]
fn without_cap_sys_resource_limits_hold() {
    let home = Home::with_alpine();
    let args = ["run", "--rm", "--pids-limit", "17", "alpine", "sh", "-c"];
    let script = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; ulimit -n";
    let plain = home.run(args.into_iter().chain([script])).succeeds();
    let mut without = Command::new("setpriv");
    without
        .args(["--bounding-set=-sys_resource", "--"])
        .arg(binary::path())
        .args(args)
        .arg(script);
    let inner = home.command([""; 0]);
    without.current_dir(home.path()).envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let done = Outcome::of(without, b"").succeeds();
    assert_eq!(done.text(), plain.text());
    assert!(done.text().starts_with("17\n"), "{}", done.text());
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
}

#[test]
fn a_container_is_made_in_the_group_that_was_asked_for() {
    let home = Home::with_alpine();
    let parent = name("parent");
    let asked = format!("/{parent}/inner");
    let args = ["run", "--rm", "--net", "none", "--cgroupns", "host"];
    let show = ["--pids-limit", "17", "alpine", "sh", "-c"];
    let script = "grep -E '^0::|:pids:' /proc/self/cgroup";
    let own = home.run(
        args.iter()
            .chain(&["--cgroup-parent", &asked])
            .chain(&show)
            .chain(&[script]),
    );
    let inside = format!(":{asked}/box-");
    let own = own.succeeds();
    assert!(own.text().contains(&inside), "{}", own.text());
    for hierarchy in ["", "memory", "pids", "devices"] {
        let made = Path::new("/sys/fs/cgroup").join(hierarchy).join(&parent);
        if made.exists() {
            std::fs::remove_dir(made.join("inner")).unwrap();
            std::fs::remove_dir(made).unwrap();
        }
    }
    for bad in ["", "/a/../../b"] {
        let refused = ["run", "--rm", "--cgroup-parent", bad, "alpine", "true"];
        home.run(refused).fails(&["--cgroup-parent"]);
    }
}

#[test]
fn a_slice_is_asked_of_systemd_where_it_runs_and_refused_elsewhere() {
    let home = Home::with_alpine();
    let slice = ["run", "--rm", "--cgroup-parent", "box-test.slice"];
    if !is_unified() {
        home.run(slice.iter().chain(&["alpine", "true"]))
            .fails(&["box-test.slice", "needs cgroup v2"]);
        return;
    }
    if !Path::new("/run/systemd/private").exists() {
        home.run(slice.iter().chain(&["alpine", "true"]))
            .fails(&["a place in box-test.slice", "/run/systemd/private"]);
        assert_eq!(home.instances(), [""; 0]);
        return;
    }
    let flags = ["--cgroup-parent", "box-test.slice", "--memory", "64m"];
    let name = name("scope");
    let unit = |name: &str| {
        let slice = Path::new("/sys/fs/cgroup/box.slice/box-test.slice");
        let units = std::fs::read_dir(slice).into_iter().flatten().flatten();
        let mut paths = units.map(|unit| unit.path());
        let prefix = format!("box-{name}-");
        paths.find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&prefix)
        })
    };
    let running = Background::start(&home, &name, &flags, "while :; do sleep 1; done");
    let scope = unit(&name).unwrap();
    assert!(scope.to_string_lossy().ends_with(".scope"), "{scope:?}");
    let read = |file: &str| std::fs::read_to_string(scope.join(file)).unwrap();
    assert_eq!(read("container/memory.max"), "67108864\n");
    assert_eq!(read("container/pids.max"), "4096\n");
    // box, and its guard as soon as the container is a moment old.
    let supervisors = read("supervisor/cgroup.procs").lines().count();
    assert!((1..=2).contains(&supervisors), "{supervisors}");
    assert_ne!(read("container/cgroup.procs"), "");
    // Found and changed by another process, which is not in the scope.
    assert_eq!(running.stats()["memory_limit"].as_u64(), Some(64 << 20));
    home.run(["update", "--memory", "96m", &name]).succeeds();
    assert_eq!(read("container/memory.max"), "100663296\n");
    home.run(["pause", &name]).succeeds();
    assert_eq!(running.status(), "paused");
    home.run(["unpause", &name]).succeeds();
    drop(running);
    assert_eq!(unit(&name), None);

    let hog = ["alpine", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M"];
    let killed = home.run(["run", "--rm"].iter().chain(&flags).chain(&hog));
    killed.fails_with(137, &["it used more than --memory 64m"]);
    // Detached, the monitor is the supervisor.
    let detached = ["run", "-d", "--name", "behind"].iter().chain(&flags);
    home.run(detached.chain(&["alpine", "sleep", "1000"]))
        .succeeds();
    assert!(unit("behind").is_some());
    home.run(["rm", "-f", "behind"]).succeeds();
    // The monitor ends a moment after its container is gone, and systemd takes the scope away when it has heard of that.
    let hung = Instant::now() + Duration::from_secs(60);
    while let Some(scope) = unit("behind") {
        assert!(Instant::now() < hung, "{} stays", scope.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    // What systemd refuses is told in its words.
    let refused = [
        "run",
        "--rm",
        "--cgroup-parent",
        "nosuch@.slice",
        "alpine",
        "true",
    ];
    home.run(refused).fails(&["nosuch@.slice"]);
}
