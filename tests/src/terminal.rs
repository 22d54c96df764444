//! A user at a terminal: a real pty, with box as the leader of a session on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::outcome::{self, PATIENCE};

/// A command on a new pty.
pub struct Terminal {
    keyboard: File,
    /// Kept open, so that the terminal's state can be read after the command has ended.
    line: OwnedFd,
    child: Child,
    name: String,
    /// Output that was not matched yet.
    screen: String,
    /// All output, for messages.
    transcript: String,
}

impl Terminal {
    /// Starts a command with the pty as its controlling terminal: 24 rows of 80 columns.
    #[track_caller]
    pub fn start(command: &Command) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("open a pty");
        grantpt(&controller).expect("grant the pty");
        unlockpt(&controller).expect("unlock the pty");
        let path = ptsname(&controller, Vec::new()).expect("name the pty");
        let path = path
            .to_str()
            .expect("a pty's path is plain ASCII")
            .to_owned();
        let mut open = File::options();
        open.read(true).write(true);
        // O_NOCTTY: the test must not get it as its own terminal.
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut open,
            rustix::fs::OFlags::NOCTTY.bits() as i32,
        );
        let line = open.open(&path).expect("open the line of the pty");
        let mut shell = Command::new("setsid");
        shell
            .arg("-c")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        shell.env("TERM", "xterm");
        let copy = || line.try_clone().expect("copy a descriptor");
        shell.stdin(copy()).stdout(copy()).stderr(copy());
        let child = shell.spawn().expect("setsid (util-linux) is installed");
        let mut terminal = Terminal {
            keyboard: File::from(controller),
            line: line.into(),
            child,
            name: outcome::describe(command),
            screen: String::new(),
            transcript: String::new(),
        };
        terminal.resize(24, 80);
        terminal
    }

    /// The process on the terminal.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types text; `\x03` is Ctrl-C.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.keyboard
            .write_all(text.as_bytes())
            .expect("type on the terminal");
    }

    /// Waits until the text is printed, and returns the output before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen.find(text) {
                let before = self.screen[..at].to_owned();
                self.screen.drain(..at + text.len());
                return before;
            }
            if !self.read(deadline) {
                panic!(
                    "{}: {text:?} was never printed; the screen:\n{}",
                    self.name, self.transcript
                );
            }
        }
    }

    /// Changes the size of the window; the kernel sends SIGWINCH.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.keyboard, size).expect("set the window size");
    }

    /// The state of the terminal, as `stty -a` would show it.
    pub fn attributes(&self) -> Termios {
        tcgetattr(&self.line).expect("read the terminal's state")
    }

    /// All output so far.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Waits for the command to end and returns its exit status; its last output is in the transcript.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        // Keep reading, a full terminal would stop the command.
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "{}: still running:\n{}",
                self.name,
                self.transcript
            );
            self.read(Instant::now() + Duration::from_millis(20));
        };
        while self.read(Instant::now() + Duration::from_millis(20)) {}
        outcome::code(status)
    }

    /// Reads the available output; false if there was none until the deadline.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.keyboard, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&left)).expect("poll the terminal");
        if ready == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = self.keyboard.read(&mut buffer).expect("read the terminal");
        let text = String::from_utf8_lossy(&buffer[..count]);
        self.screen.push_str(&text);
        self.transcript.push_str(&text);
        count > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed half-way; both fail where the command has ended, which is as it should be.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
