//! A user at a terminal.

use box_tests::{Home, Terminal};
use rustix::termios::LocalModes;

#[test]
fn an_interactive_shell() {
    let home = Home::with_alpine();
    let mut terminal = home.terminal(["run", "--rm", "alpine", "/bin/sh"]);
    // The prompt: user, host, directory.
    terminal.expect("[root@container");
    terminal.expect("]# ");
    terminal.send("tty; echo pid $$\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("pid 1\r\n");
    terminal.expect("]# ");
    terminal.send("stty size\n");
    terminal.expect("24 80\r\n");
    terminal.expect("]# ");
    terminal.send("exit 7\n");
    assert_eq!(terminal.wait(), 7);
}

#[test]
fn it_flags_are_accepted() {
    let home = Home::with_alpine();
    let mut terminal = home.terminal(["run", "-it", "--rm", "alpine"]);
    terminal.expect("]# ");
    terminal.send("echo $((40 + 2))\n");
    terminal.expect("42\r\n");
    terminal.expect("]# ");
    terminal.send("\x04");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn ctrl_c_ends_the_command_and_not_the_shell() {
    let home = Home::with_alpine();
    let mut terminal = home.terminal(["run", "--rm", "alpine", "sh"]);
    terminal.expect("]# ");
    terminal.send("sh -c 'echo begun; exec sleep 1000'\n");
    terminal.expect("begun\r\n");
    terminal.send("\x03");
    terminal.expect("]# ");
    terminal.send("echo status $?\n");
    terminal.expect("status 130\r\n");
    terminal.expect("]# ");
    terminal.send("exit 9\n");
    assert_eq!(terminal.wait(), 9);
}

#[test]
fn jobs_can_be_stopped_and_continued() {
    let home = Home::with_alpine();
    let mut terminal = home.terminal(["run", "--rm", "alpine", "sh"]);
    terminal.expect("]# ");
    // Input is echoed or not, depending on the terminal's owner at that moment; the output shows the result.
    terminal.send("sh -c 'while read x; do echo got:$x; done'\n");
    terminal.send("one\n");
    terminal.expect("got:one\r\n");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect("]# ");
    terminal.send("jobs\n");
    terminal.expect("Stopped");
    terminal.expect("]# ");
    terminal.send("fg\n");
    terminal.send("two\n");
    terminal.expect("got:two\r\n");
    terminal.send("\x03");
    terminal.expect("]# ");
    terminal.send("exit 0\n");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_window_can_change_its_size() {
    let home = Home::with_alpine();
    let script = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut terminal = home.terminal(["run", "--rm", "alpine", "sh", "-c", script]);
    terminal.expect("ready\r\n");
    terminal.resize(50, 132);
    terminal.expect("50 132");
    assert_eq!(terminal.wait(), 5);
}

#[test]
fn the_terminal_is_restored_whatever_happens() {
    let home = Home::with_alpine();
    let cooked = |terminal: &box_tests::Terminal| {
        let modes = terminal.attributes().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    };
    // Ended by itself, with the inner terminal in disarray.
    let mut terminal = home.terminal([
        "run",
        "--rm",
        "alpine",
        "sh",
        "-c",
        "stty raw -echo; echo up; read x; exit 3",
    ]);
    terminal.expect("up");
    assert!(!cooked(&terminal), "box did not make the terminal raw");
    terminal.send("x\n");
    assert_eq!(terminal.wait(), 3);
    assert!(cooked(&terminal));
    // The command is not found.
    let mut terminal = home.terminal(["run", "--rm", "alpine", "nosuch"]);
    assert_eq!(terminal.wait(), 127);
    assert!(cooked(&terminal));
    // box gets a signal to end.
    let mut terminal = home.terminal([
        "run",
        "--rm",
        "alpine",
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ]);
    terminal.expect("up");
    let pid = rustix::process::Pid::from_raw(terminal.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(terminal.wait(), 143);
    assert!(cooked(&terminal));
    // The command is killed from outside.
    let mut terminal = home.terminal([
        "run",
        "--rm",
        "--name",
        "victim",
        "alpine",
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ]);
    terminal.expect("up");
    home.run(["rm", "-f", "victim"]).succeeds();
    assert_eq!(terminal.wait(), 137);
    assert!(cooked(&terminal));
}

#[test]
fn a_terminal_on_one_side_only_passes_straight_through() {
    let home = Home::with_alpine();
    let mut command = home.command([
        "run",
        "--rm",
        "-t",
        "alpine",
        "sh",
        "-c",
        "test -t 1 && echo terminal",
    ]);
    command.env("TERM", "xterm");
    let forced = box_tests::Outcome::of(command, b"").succeeds();
    assert!(forced.text().contains("terminal"), "{}", forced.text());
    let plain = home.sh("test -t 1 || echo plain").succeeds();
    assert_eq!(plain.text(), "plain");
}

#[test]
fn a_pull_on_a_terminal_ends_in_one_line() {
    let home = Home::new();
    let mut terminal = home.terminal(["pull", "alpine:3.20"]);
    assert_eq!(terminal.wait(), 0);
    let last = terminal
        .transcript()
        .trim_end()
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    assert!(
        last.contains("alpine:3.20") && last.contains("3.20.3"),
        "{:?}",
        terminal.transcript()
    );
}

#[test]
fn the_end_of_input_is_there_for_all_who_read() {
    let home = Home::with_alpine();
    // The second reader comes when the first Control-D has been read, as one after a shell that throws away what was
    // typed before it set up the terminal.
    let script = "cat; cat; sleep 0.3; cat; echo over";
    let outcome = home
        .run(["run", "--rm", "-i", "-t", "alpine", "sh", "-c", script])
        .succeeds();
    assert!(outcome.text().contains("over"), "{}", outcome.text());
}

/// No text from an image moves the cursor, begins a sequence or changes the direction of text; JSON escapes it in full.
#[test]
fn texts_of_images_are_harmless_on_a_terminal() {
    let home = Home::with_alpine();
    let hostile = "a\u{9b}31m\x1b[2J\u{202e}b\u{2066}c\u{61c}\u{200f}\u{feff}\u{85}d";
    home.run(["run", "--name", "c", "alpine", "true"])
        .succeeds();
    let label = format!("LABEL key=\"{hostile}\"");
    let entrypoint = format!(
        "ENTRYPOINT [\"echo\", \"{}\"]",
        hostile.replace('\x1b', "\\u001b")
    );
    let lines = ["commit", "-c", &label, "-c", &entrypoint, "c", "hostile"];
    home.run(lines).succeeds();
    home.run(["run", "--name", "h", "hostile"]).succeeds();
    let is_harmless = |c: char| !matches!(c, '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\x1b');
    for line in [
        &["inspect", "hostile"][..],
        &["inspect", "h"],
        &["ps", "-a"],
        &["ps", "-a", "--format", "json"],
        &["ps", "-a", "--format", "name,command"],
        &["images", "--format", "json"],
        &["run", "--dry-run", "hostile"],
        &["run", "--rm", "-u", hostile, "hostile"],
    ] {
        let mut terminal = home.terminal(line);
        terminal.wait();
        let shown = terminal.transcript();
        assert!(shown.chars().all(is_harmless), "{line:?}: {shown:?}");
    }
    let image = home.run(["inspect", "hostile"]).succeeds();
    assert!(image.text().chars().all(is_harmless));
    assert_eq!(
        image.json()[0]["config"]["config"]["Labels"]["key"],
        hostile
    );
}

/// A background job does not read from the terminal, and is not stopped by it.
#[test]
fn a_job_in_the_background_leaves_the_terminal_alone() {
    let home = Home::with_alpine();
    let line = "set -m; box run --rm -t alpine sh -c 'echo begun; read word; echo got:$word' & sleep 0.1; \
                read first; echo shell:$first; fg >/dev/null; echo status $?";
    let mut terminal = Terminal::start(&home.shell(line));
    terminal.expect("begun");
    let modes = terminal.attributes().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    terminal.send("one\n");
    terminal.expect("shell:one");
    // The echo of the inner terminal tells that what is typed arrives there.
    terminal.send("two\n");
    terminal.expect("got:two");
    terminal.expect("status 0");
    assert_eq!(terminal.wait(), 0);
    let modes = terminal.attributes().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
}

/// The `fg` of bash sends no signal to a job that was not stopped.
#[test]
fn a_job_that_comes_to_the_foreground_without_a_word_notices() {
    let home = Home::with_alpine();
    let command = "sh -c 'read word; echo got:$word; exit 5'";
    for (before, job) in [
        ("", format!("box run --rm -t alpine {command}")),
        (
            "box run -d --name c alpine sleep 1000 >/dev/null;",
            format!("box exec -t c {command}"),
        ),
        (
            &format!("box run -d -t --name a alpine {command} >/dev/null;"),
            "box attach a".to_owned(),
        ),
    ] {
        let line =
            format!("set -m; {before} {job} & sleep 1; read first; fg >/dev/null; echo status $?");
        let mut shell = home.shell("exec bash -c \"$LINE\"");
        shell.env("LINE", line);
        let mut terminal = Terminal::start(&shell);
        terminal.send("one\n");
        // Box has been in the background for a while.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        terminal.send("two\n");
        terminal.expect("got:two");
        terminal.expect("status 5");
        assert_eq!(terminal.wait(), 0);
    }
    home.run(["rm", "-f", "c", "a"]).succeeds();
}

/// As with docker, if the command has no terminal of its own.
#[test]
fn signals_of_jobs_and_windows_reach_the_command() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let home = Home::with_alpine();
    let script = "for s in TSTP TTIN TTOU CONT WINCH; do trap \"echo $s\" $s; done; trap 'exit 5' TERM; \
                  echo ready; while :; do sleep 0.05; done";
    let mut command = home.command(["run", "--rm", "alpine", "sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    let send = |signal| rustix::process::kill_process(pid, signal).unwrap();
    use rustix::process::Signal;
    for (signal, name) in [
        (Signal::TSTP, "TSTP"),
        (Signal::TTIN, "TTIN"),
        (Signal::TTOU, "TTOU"),
        (Signal::CONT, "CONT"),
        (Signal::WINCH, "WINCH"),
    ] {
        send(signal);
        assert_eq!(lines.next().unwrap().unwrap(), name);
    }
    send(Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(5));
}
