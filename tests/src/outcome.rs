//! The outcome of an invocation of box, with assertions for tests.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A command that takes longer hangs, and the test fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A finished command.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// The exit status; 128+N where signal N ended the process itself.
    pub status: i32,
    /// Everything on stdout.
    pub stdout: Vec<u8>,
    /// Everything on stderr.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end with these bytes on its stdin.
    #[track_caller]
    pub fn of(mut command: Command, stdin: &[u8]) -> Outcome {
        let line = describe(&command);
        command
            .stdin(if stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group, so that what a shell started goes with it when it hangs: it holds the pipes that are read below.
            .process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {line}: {error}"));
        std::thread::scope(|scope| {
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let stdout = scope.spawn(move || read(stdout));
            let stderr = scope.spawn(move || read(stderr));
            if let Some(mut pipe) = child.stdin.take() {
                // A command may end before it has read everything.
                scope.spawn(move || pipe.write_all(stdin).ok());
            }
            let status = wait(&mut child, &line);
            let stdout = stdout.join().expect("the reader does not panic");
            let stderr = stderr.join().expect("the reader does not panic");
            Outcome {
                line,
                status: code(status),
                stdout,
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            }
        })
    }

    /// stdout as text without the line break at its end.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: stdout is not text: {error}", self.line))
            .trim_end_matches('\n')
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error} in:\n{}", self.line, self.text()))
    }

    /// Asserts this exit status.
    #[track_caller]
    pub fn exits(self, status: i32) -> Outcome {
        assert_eq!(
            self.status,
            status,
            "{}\nstdout: {}\nstderr: {}",
            self.line,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }

    /// Asserts success.
    #[track_caller]
    pub fn succeeds(self) -> Outcome {
        self.exits(0)
    }

    /// Asserts a failure of box itself in the documented form: status 125, one `error:` line with all these words, at
    /// most one `hint:` line, no trace of a panic, no raw errno, no control character.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> Outcome {
        self.fails_with(125, words)
    }

    /// Same as [`Outcome::fails`], with another status.
    #[track_caller]
    pub fn fails_with(self, status: i32, words: &[&str]) -> Outcome {
        let outcome = self.exits(status);
        let errors: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(
            errors.len(),
            1,
            "{}: one error line is wanted:\n{}",
            outcome.line,
            outcome.stderr
        );
        for word in words {
            assert!(
                errors[0].contains(word),
                "{}: {word:?} is not in: {}",
                outcome.line,
                errors[0]
            );
        }
        let hints = outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("hint: "))
            .count();
        assert!(
            hints <= 1,
            "{}: {hints} hints:\n{}",
            outcome.line,
            outcome.stderr
        );
        for trace in ["panicked", "backtrace", "(os error"] {
            assert!(
                !outcome.stderr.contains(trace),
                "{}: {trace} in:\n{}",
                outcome.line,
                outcome.stderr
            );
        }
        assert!(
            !outcome.stderr.chars().any(|c| c.is_control() && c != '\n'),
            "{}: control characters in {:?}",
            outcome.line,
            outcome.stderr
        );
        outcome
    }

    /// Asserts a `hint:` line with these words.
    #[track_caller]
    pub fn hints(self, words: &[&str]) -> Outcome {
        let hint = self.stderr.lines().find(|line| line.starts_with("hint: "));
        let hint = hint.unwrap_or_else(|| panic!("{}: no hint in:\n{}", self.line, self.stderr));
        for word in words {
            assert!(
                hint.contains(word),
                "{}: {word:?} is not in: {hint}",
                self.line
            );
        }
        self
    }
}

/// The exit status, or 128+N if signal N ended the process, as in a shell.
pub fn code(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => unreachable!("a process that was waited for has ended"),
    }
}

/// Waits for a child; kills it and fails after [`PATIENCE`].
#[track_caller]
pub fn wait(child: &mut Child, line: &str) -> ExitStatus {
    let pid = rustix::process::Pid::from_child(child);
    let (done, watch) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watchdog = scope.spawn(move || match watch.recv_timeout(PATIENCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // The child has not been waited for yet, so the number is still its own.
                let kill = rustix::process::Signal::KILL;
                rustix::process::kill_process(pid, kill).ok();
                // Only where the child leads a group.
                rustix::process::kill_process_group(pid, kill).ok();
                true
            }
            _ => false,
        });
        let status = child
            .wait()
            .unwrap_or_else(|error| panic!("wait for {line}: {error}"));
        drop(done);
        let hung = watchdog.join().expect("the watchdog does not panic");
        assert!(!hung, "{line}: still running after {PATIENCE:?}");
        status
    })
}

fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
    }
    bytes
}

/// The command as `sh -c SCRIPT` runs it: the script ends in `exec "$@"`.
pub fn behind(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The command as one line.
pub fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
