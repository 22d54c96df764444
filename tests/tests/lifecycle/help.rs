//! The help of every command has examples, and those of the container commands work as written.

use box_tests::{Home, Outcome};

/// The commands in the list of `box --help`.
fn verbs(home: &Home) -> Vec<String> {
    let help = home.run(["--help"]).succeeds();
    let lines = help
        .text()
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    let words = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "));
    let verbs: Vec<String> = words
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    verbs
}

/// An example with the id of an image that is there, if it has one.
fn with_an_id(home: &Home, line: String) -> String {
    const EXAMPLE: &str = "3f53d0e6a1b2";
    if !line.contains(EXAMPLE) {
        return line;
    }
    let images = home.run(["images", "--format", "json"]).succeeds();
    let images: serde_json::Value = serde_json::from_slice(&images.stdout).unwrap();
    let digest = images[0]["digest"].as_str().unwrap();
    let id = digest.strip_prefix("sha256:").unwrap();
    line.replace(EXAMPLE, &id[..EXAMPLE.len()])
}

fn examples(home: &Home, verb: &str) -> Vec<String> {
    let help = home.run([verb, "--help"]).succeeds();
    let lines = help
        .text()
        .lines()
        .skip_while(|line| !line.starts_with("Example"))
        .skip(1);
    lines
        .take_while(|line| line.starts_with("  "))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn every_verb_has_an_example_of_itself() {
    let home = Home::new();
    for verb in verbs(&home).iter().filter(|verb| *verb != "version") {
        let examples = examples(&home, verb);
        assert!(!examples.is_empty(), "box {verb} --help has no example");
        assert!(
            examples
                .iter()
                .any(|line| line.contains(&format!("box {verb}"))),
            "{examples:?}"
        );
    }
}

#[test]
fn examples_work() {
    // Each begins with `web` running, a kept container `old`, and a file README.md. `ends`: what has to end first.
    const VERBS: [&str; 22] = [
        "run", "start", "ps", "exec", "logs", "stop", "restart", "kill", "wait", "top", "rename",
        "cp", "diff", "commit", "prune", "pause", "images", "inspect", "rmi", "df", "stats",
        "attach",
    ];
    for verb in VERBS {
        let home = Home::with_alpine();
        home.run(["pull", "-q", "alpine:3.20"]).succeeds();
        std::fs::write(home.path().join("README.md"), "read me\n").unwrap();
        let lasts = if matches!(verb, "wait" | "attach") {
            "sleep 1"
        } else {
            "trap : HUP; while :; do sleep 0.1; done"
        };
        // What a registry is asked for is tried with registries of the tests' own (`tests/registry`).
        let local = |line: &String| !line.contains("--remote");
        for line in examples(&home, verb).into_iter().filter(local) {
            home.run(["rm", "-f", "web", "old", "spare"]).succeeds();
            if verb != "run" {
                home.run(["run", "-d", "--name", "web", "alpine", "sh", "-c", lasts])
                    .succeeds();
            }
            home.run(["run", "--name", "old", "alpine", "true"])
                .succeeds();
            Outcome::of(home.shell(&with_an_id(&home, line)), b"").succeeds();
        }
        home.run(["rm", "-f", "web", "old", "spare"]).succeeds();
    }
}
