//! Many processes at once that run all commands on the same containers, and processes killed at any moment.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use box_tests::{Home, Outcome};

/// A number from the environment, for longer runs by hand.
fn amount(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A sequence of numbers that is the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Errors that are allowed while other commands work on the same container: each states that.
const EXPECTED: [&str; 9] = [
    "is running",
    "is not running",
    "no container named",
    "is taken",
    "in use by another box process",
    "is paused",
    "exit status of",
    "the container's first process died",
    "was killed",
];

fn is_expected(outcome: &Outcome) -> bool {
    let errors: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    outcome.status == 0
        || errors
            .iter()
            .all(|error| EXPECTED.iter().any(|words| error.contains(words)))
}

#[test]
fn eight_processes_at_work_on_fifty_containers() {
    let home = Home::with_alpine();
    let end = Instant::now() + Duration::from_secs(amount("BOX_TEST_CROWD_SECONDS", 30) as u64);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (home, done) = (&home, &done);
            scope.spawn(move || {
                let mut numbers = Numbers(worker);
                while Instant::now() < end {
                    let name = format!("c{}", numbers.below(50));
                    let outcome = match numbers.below(8) {
                        0 | 1 => {
                            home.run(["run", "-d", "--name", &name, "alpine", "sleep", "1000"])
                        }
                        2 => home.run(["start", &name]),
                        3 => home.run(["stop", &name]),
                        4 => home.run(["ps", "-a"]),
                        5 => home.run(["rm", "-f", &name]),
                        6 => home.run(["run", "--rm", "alpine", "true"]),
                        _ => home.run(["exec", &name, "true"]),
                    };
                    // A container that is stopped takes the processes that joined it along.
                    let killed = outcome.line.contains(" exec ") && outcome.status == 137;
                    assert!(is_expected(&outcome) || killed, "{outcome:?}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(done.load(Ordering::Relaxed) > 50, "{done:?} commands");
    remove_all(&home);
}

#[test]
fn boxes_killed_at_any_moment() {
    let home = Home::with_alpine();
    let mut numbers = Numbers(7);
    for _ in 0..amount("BOX_TEST_KILLS", 200) {
        let name = format!("k{}", numbers.below(6));
        let line: Vec<&str> = match numbers.below(7) {
            0 | 1 => vec!["run", "-d", "--name", &name, "alpine", "sleep", "1000"],
            2 => vec!["run", "--rm", "alpine", "true"],
            3 => vec!["start", &name],
            4 => vec!["stop", &name],
            5 => vec!["rm", "-f", &name],
            _ => vec!["restart", &name],
        };
        let mut command: Command = home.command(&line);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(15_000) as u64));
        // It may have ended already.
        child.kill().ok();
        child.wait().unwrap();
    }
    // A monitor that was being made may still be on its way.
    std::thread::sleep(Duration::from_millis(300));
    let rows = home.run(["ps", "-a", "--format", "json"]).succeeds().json();
    for row in rows.as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let alive = home.run(["exec", name, "true"]).status == 0;
        assert_eq!(row["status"] == "running", alive, "{row}");
    }
    remove_all(&home);
    home.run(["ps", "-a"]).succeeds();
}

#[test]
fn many_containers_at_once() {
    let home = Home::with_alpine();
    let count = amount("BOX_TEST_MANY", 60);
    let names: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
    for name in &names {
        home.run(["run", "-d", "--name", name, "alpine", "sleep", "1000"])
            .succeeds();
    }
    assert_eq!(
        home.run(["ps", "-q"]).succeeds().text().lines().count(),
        count
    );
    let stop: Vec<&str> = ["stop"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    home.run(stop).succeeds();
    assert_eq!(home.run(["ps", "-q"]).succeeds().text(), "");
    home.run(["prune", "-f"]).succeeds();
    assert!(home.instances().is_empty());
}

/// Nothing stays: no container, state, process or control group (the home checks for these).
fn remove_all(home: &Home) {
    for name in home.instances() {
        let outcome = home.run(["rm", "-f", &name]);
        assert_eq!(outcome.status, 0, "{outcome:?}");
    }
    assert!(home.instances().is_empty());
    home.run(["ps", "-a"]).succeeds();
    home.run(["ps", "-a"]).succeeds();
    // The directory is not there where not one got as far as its state.
    let states: Vec<_> = std::fs::read_dir(home.root().join("run"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(states.is_empty(), "{states:?}");
}
