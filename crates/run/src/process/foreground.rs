//! Connects the terminal of a foreground process with the caller's. A process without a terminal has the caller's streams
//! themselves.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::stdio::stdin;

use super::supervise::Streams;
use crate::signals;
use crate::tty::relay::Relay;
use crate::tty::{self, RawMode};

/// The terminal of a foreground process, if it has one.
#[derive(Default)]
pub(super) struct Foreground(Option<Terminal>);

struct Terminal {
    relay: Relay,
    /// The caller's terminal, if there is one.
    raw: Option<RawMode>,
}

impl Foreground {
    /// Takes the master side of the process' terminal; `None` for a process without one.
    pub fn new(master: Option<OwnedFd>) -> Result<Self, Errno> {
        let Some(master) = master else {
            return Ok(Self(None));
        };
        let raw = RawMode::enter()?;
        let relay = Relay::new(master)?;
        Ok(Self(Some(Terminal { relay, raw })))
    }
}

impl Terminal {
    /// Takes the caller's terminal if box has come to the foreground. Returns when to check again if it has not.
    fn catch_up(&self) -> Result<Option<Instant>, Errno> {
        let Some(raw) = &self.raw else {
            return Ok(None);
        };
        if raw.catch_up()? {
            tty::copy_size(self.relay.master())?;
        }
        Ok(raw.is_away().then(|| Instant::now() + tty::LOOK_AGAIN))
    }

    /// Forwards typed keys, and returns the signal that one of them stands for.
    fn read_keys(&mut self) -> Result<Option<i32>, Errno> {
        let typed = self.relay.read_input()?;
        let signal = typed.iter().find_map(|key| signals::of_key(*key));
        self.relay.write_input()?;
        Ok(signal)
    }
}

impl Streams for Foreground {
    fn due(&mut self) -> Result<Option<Instant>, Errno> {
        let Some(terminal) = &self.0 else {
            return Ok(None);
        };
        let look_again = terminal.catch_up()?;
        Ok(terminal
            .relay
            .next_end()
            .into_iter()
            .chain(look_again)
            .min())
    }

    fn poll<'a>(&'a self, files: &mut Vec<PollFd<'a>>) {
        let Some(Terminal { relay, .. }) = self.0.as_ref().filter(|it| it.relay.is_open()) else {
            return;
        };
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, relay.wants_to_write());
        files.push(PollFd::from_borrowed_fd(relay.master(), wanted));
        if relay.wants_input() {
            files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
    }

    fn carry(&mut self, ready: &[PollFlags]) -> Result<Option<i32>, Errno> {
        let Some(terminal) = &mut self.0 else {
            return Ok(None);
        };
        terminal.relay.repeat_end()?;
        if let Some(master) = ready.first() {
            if master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                terminal.relay.read_output()?;
            }
            if master.contains(PollFlags::OUT) {
                terminal.relay.write_input()?;
            }
        }
        match ready.get(1) {
            Some(input) if !input.is_empty() => terminal.read_keys(),
            _ => Ok(None),
        }
    }

    fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|terminal| terminal.relay.master())
    }

    fn signal(&mut self, signal: i32) -> Result<bool, Errno> {
        let Some(Terminal { relay, raw }) = &self.0 else {
            return Ok(false);
        };
        match signal {
            libc::SIGWINCH => tty::copy_size(relay.master())?,
            // Keys that stop a job reach the one in the container; these signals are for box itself.
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                if let Some(raw) = raw {
                    raw.stop()?;
                }
            }
            libc::SIGCONT => {
                tty::copy_size(relay.master())?;
                if let Some(raw) = raw {
                    raw.resume()?;
                }
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn drain(&mut self) -> Result<(), Errno> {
        match &mut self.0 {
            Some(terminal) => terminal.relay.drain(),
            None => Ok(()),
        }
    }
}
