//! Containers that exceed their memory limit.

use box_tests::Home;

use crate::{groups, name};

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
