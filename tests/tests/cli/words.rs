//! Messages: help, usage, errors.

use box_tests::Home;

const VERBS: [&str; 10] = [
    "pull", "run", "start", "ps", "rm", "images", "rmi", "inspect", "unpack", "version",
];

#[test]
fn every_verb_has_help() {
    let home = Home::new();
    let help = home.run(["--help"]).succeeds();
    for verb in VERBS {
        assert!(
            help.text().contains(&format!("  {verb}")),
            "{verb} is not in:\n{}",
            help.text()
        );
        let own = home.run([verb, "--help"]).succeeds();
        assert!(
            own.text().contains(&format!("Usage: box {verb}")),
            "{}",
            own.text()
        );
    }
}

#[test]
fn refusals_are_one_line_with_a_hint() {
    let home = Home::new();
    home.run::<[&str; 0]>([])
        .fails(&["command"])
        .hints(&["box --help"]);
    home.run(["frobnicate"])
        .fails(&["frobnicate"])
        .hints(&["box --help"]);
    home.run(["run"])
        .fails(&["IMAGE"])
        .hints(&["box run --help"]);
    home.run(["run", "--romm", "alpine"])
        .fails(&["--romm"])
        .hints(&["--rm", "box run --help"]);
    home.run(["pull", "Alpine"])
        .fails(&["Alpine"])
        .hints(&["alpine:3.20"]);
    home.run(["pull", "alpine:"])
        .fails(&["alpine:"])
        .hints(&["alpine:3.20"]);
    home.run(["pull", "--arch", "vax", "alpine"])
        .fails(&["vax", "x86_64"]);
    home.run(["run", "-v", "nonsense", "alpine"])
        .fails(&["nonsense"]);
    home.run(["run", "-e", "A B=1", "alpine"]).fails(&["A B=1"]);
    home.run(["run", "--env-file", "/nonexistent", "alpine"])
        .fails(&["/nonexistent", "no such file"]);
    home.run(["run", "-w", "relative", "alpine"])
        .fails(&["relative", "absolute"]);
    home.run(["run", "--net", "bridge", "alpine"])
        .fails(&["bridge", "host or none"]);
    home.run(["run", "--cap-add", "FLY", "alpine"])
        .fails(&["FLY"]);
    home.run(["run", "--ulimit", "nofile", "alpine"])
        .fails(&["nofile"]);
    // Nothing of this made anything.
    assert!(!home.root().join("instances").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let mut child = home
        .command(["run", "--help"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_misspelt_setting_is_refused() {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/config.toml"), "oflline = true\n").unwrap();
    home.run(["images"])
        .fails(&["config.toml", "line 1", "oflline"]);
}

/// Forms of flags that docker accepts too; help does not show them.
#[test]
fn switches_may_have_values() {
    let home = Home::with_alpine();
    let tty = |flag: &str| {
        let mut terminal = home.terminal(["run", "--rm=true", "-i", flag, "alpine", "tty"]);
        terminal.wait();
        terminal.transcript().contains("/dev/pts/0")
    };
    assert!(tty("--tty=true"));
    assert!(!tty("--tty=false"));
    assert!(home.instances().is_empty());
    let line = [
        "run",
        "--rm=false",
        "--name",
        "kept",
        "alpine",
        "echo",
        "--rm=yes",
    ];
    assert_eq!(home.run(line).succeeds().text(), "--rm=yes");
    let kept = home.run(["ps", "--all=true", "-q"]).succeeds();
    assert_eq!(kept.text(), "kept");
    home.run(["rm", "--force=1", "kept"]).succeeds();
    home.run(["run", "--rm=perhaps", "alpine"]).fails(&[
        "--rm",
        "perhaps",
        "expected true or false",
    ]);
    let help = home.run(["run", "--rm=true", "--help"]).succeeds();
    assert_eq!(help.text(), home.run(["run", "--help"]).succeeds().text());
    assert!(!help.text().contains("--rm["), "{}", help.text());
}
