//! Runs the commands that the README shows under "Use", in their order, as a user would type them.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use box_tests::{Home, Outcome, Terminal};

/// The lines of the first block below the heading.
fn lines() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let below = text.lines().skip_while(|line| *line != "## Use").skip(2);
    below
        .map_while(|line| line.strip_prefix("    "))
        .map(str::to_owned)
        .collect()
}

/// Prints past the test harness, which hides the output of a passing test.
fn report(text: &str) {
    let line = format!("README: {text}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// State of commands that the test cannot simply run to their end.
#[derive(Default)]
struct Special {
    /// `box logs -f`, which ends with its container.
    following: Option<JoinHandle<Outcome>>,
    shells: usize,
    archives: usize,
}

impl Special {
    /// A line that starts a shell on a terminal: the test types there.
    fn shell(&mut self, home: &Home, line: &str) {
        report(&format!("on a terminal: {line}"));
        let mut terminal = Terminal::start(&home.shell(line));
        terminal.expect("# ");
        terminal.send("echo $((6 * 7))\r");
        terminal.expect("42\r\n");
        terminal.send("exit\r");
        assert_eq!(terminal.wait(), 0, "{line}\n{}", terminal.transcript());
        self.shells += 1;
    }

    /// A line that follows the output of a container until it ends.
    fn follow(&mut self, home: &Home, line: &str) {
        report(&format!("until its container is stopped: {line}"));
        let command = home.shell(line);
        self.following = Some(std::thread::spawn(move || Outcome::of(command, b"")));
        // What the line says besides.
        let also = line.split("# ").nth(1).and_then(|comment| {
            let command = comment.split("; ").find(|part| part.starts_with("box "))?;
            command.strip_suffix(" looks into it")
        });
        self.shell(home, also.expect("the comment names another command"));
    }

    /// The archive that a line reads.
    fn make_archive(&mut self, home: &Home) {
        report("for the next line rootfs.tar.xz is packed from rootfs/");
        let mut tar = Command::new("tar");
        tar.args(["-cJf", "rootfs.tar.xz", "-C", "rootfs", "."])
            .current_dir(home.path());
        Outcome::of(tar, b"").succeeds();
        self.archives += 1;
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    let home = Home::new();
    let lines = lines();
    let mut special = Special::default();
    for line in &lines {
        if line.contains("box run -it ") {
            special.shell(&home, line);
            continue;
        }
        if line.starts_with("box logs -f ") {
            special.follow(&home, line);
            continue;
        }
        if line.contains(" rootfs.tar.xz ") {
            special.make_archive(&home);
        }
        let outcome = Outcome::of(home.shell(line), b"").succeeds();
        let shown = match &line[..] {
            line if line.starts_with("echo hi |") => "hi",
            line if line.starts_with("box ps") => "work",
            line if line.starts_with("box images") => "alpine:3.20",
            line if line.starts_with("box inspect") => "\"digest\"",
            _ => "",
        };
        assert!(outcome.text().contains(shown), "{line}\n{}", outcome.text());
    }
    let followed = special.following.expect("a log is followed");
    let log = followed.join().unwrap().succeeds();
    assert!(log.text().contains(':'), "the date: {}", log.text());
    assert_eq!((special.shells, special.archives), (2, 1));
    assert!(home.path().join("rootfs/bin").is_dir());
    assert!(home.path().join("alpine.tar").is_file());
    for verb in [
        "pull", "run", "start", "rm", "stop", "rmi", "import", "save", "gc",
    ] {
        let shown = lines
            .iter()
            .any(|line| line.contains(&format!("box {verb} ")));
        assert!(shown, "the README shows no box {verb}: {lines:#?}");
    }
    home.run(["rm", "-f", "web"]).succeeds();
}
