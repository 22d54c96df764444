//! CPU limits and CPU usage.

use std::time::{Duration, Instant};

use box_tests::Home;

use crate::{Background, name};

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
