//! Limits: flags, updates, errors and listings.

use box_tests::Home;

use crate::{Background, group_file, groups, is_unified, name};

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
fn updates_at_the_same_time_lose_none() {
    let home = Home::with_alpine();
    let name = name("contended");
    home.run(["run", "--name", &name, "alpine", "true"])
        .succeeds();
    let config = home
        .root()
        .join("instances")
        .join(&name)
        .join("config.json");
    for round in 1..=20u64 {
        let update = |flag: &str, value: u64| {
            let mut update = home.command(["update", flag, &value.to_string(), &name]);
            update.spawn().unwrap()
        };
        let both = [
            update("--pids-limit", round),
            update("--cpu-period", 50_000 + round),
            update("--memory-reservation", round << 20),
        ];
        for mut child in both {
            assert!(child.wait().unwrap().success());
        }
        let config = std::fs::read(&config).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let resources = &config["linux"]["resources"];
        let set = [
            resources["pids"]["limit"].as_u64(),
            resources["cpu"]["period"].as_u64(),
            resources["memory"]["reservation"].as_u64(),
        ];
        assert_eq!(set, [round, 50_000 + round, round << 20].map(Some));
    }
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
