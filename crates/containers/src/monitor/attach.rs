//! `box attach`: a person at a detached container. With a terminal of its own, what they type and see goes through its monitor;
//! without one they see what is added to its log, and with `--interactive` type to its standard input. Nobody waits for a
//! container that does not read.

mod log;
mod terminal;

use std::io::Write;
use std::os::fd::OwnedFd;

use box_run::signals::Forwarding;
use box_run::tty::{self, RawMode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::DETACHED;
use super::socket::connect_to;
use crate::container::Live;
use crate::{Container, Error};
use terminal::send_size;

/// What the person wants.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// What is typed goes to the container.
    pub stdin: bool,
    /// Signals that box gets go to the container.
    pub forward_signals: bool,
    /// The keys that leave the container alone, on a terminal.
    pub detach_keys: Vec<u8>,
}

/// How long to wait for what says nothing when it happens.
const TICK: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: tty::LOOK_AGAIN.subsec_nanos() as i64,
};

/// Control-P, Control-Q.
pub const DETACH_KEYS: [u8; 2] = [16, 17];

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container has ended.
    Ended,
    /// The person typed the keys for this.
    Detached,
    /// They did not read what the container's terminal printed.
    FellBehind,
}

/// Where the container's output goes.
pub struct Output<'a> {
    /// What it writes to stdout, or to its terminal.
    pub out: &'a mut dyn Write,
    /// What it writes to stderr.
    pub err: &'a mut dyn Write,
}

/// Connects a person to the running container; returns when it has ended, or they leave.
pub fn attach(
    container: &Container,
    options: &AttachOptions,
    output: &mut Output<'_>,
) -> Result<Outcome, Error> {
    let live = container.live()?;
    let spec = container.spec()?;
    let failed = |errno: Errno| Error::system(format!("attach to {}", container.name()), errno);
    let signals = match options.forward_signals {
        true => Forwarding::to_container(),
        false => Forwarding::to_command(),
    };
    let signals = signals.map_err(failed)?;
    let terminal = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let mut session = Session {
        live,
        signals,
        options,
        matched: 0,
        writing: options.stdin,
    };
    if terminal {
        return match dial(container)? {
            Some(socket) => session.at_terminal(&socket, output.out).map_err(failed),
            None => Err(foreground(container)),
        };
    }
    if !container.state_directory().join(DETACHED).exists() {
        return Err(foreground(container));
    }
    // One that was last started in the foreground, or has no log, shows nothing.
    let mut log = container.log()?;
    if let Some(log) = &mut log {
        log.watch();
        log.seek_to_end()?;
    }
    session.at_log(container, log, output)
}

/// The monitor's socket. `None`: there is none.
fn dial(container: &Container) -> Result<Option<OwnedFd>, Error> {
    match connect_to(&container.state_directory()) {
        Ok(socket) => Ok(Some(socket)),
        Err(Error::Run(box_run::Error::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn foreground(container: &Container) -> Error {
    Error::Foreground {
        name: container.name().to_owned(),
    }
}

struct Session<'a> {
    live: Live,
    signals: Forwarding,
    options: &'a AttachOptions,
    /// How many of the keys to leave have been typed.
    matched: usize,
    writing: bool,
}

impl Session<'_> {
    /// True: a signal is for us alone, and we leave.
    fn forward(&self, terminal: Option<(&OwnedFd, Option<&RawMode>)>) -> Result<bool, Errno> {
        while let Some(signal) = self.signals.next()? {
            match (signal, terminal) {
                (libc::SIGWINCH, Some((socket, _))) => send_size(socket)?,
                (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, Some((_, raw))) => {
                    raw.map_or(Ok(()), RawMode::stop)?;
                }
                (libc::SIGCONT, Some((socket, raw))) => {
                    send_size(socket)?;
                    raw.map_or(Ok(()), RawMode::resume)?;
                }
                (libc::SIGWINCH | libc::SIGCONT, None) if !self.options.forward_signals => {}
                _ if self.options.forward_signals => {
                    // It may have ended this moment.
                    self.live.signal(signal).ok();
                }
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Whether the container has ended, or nobody watches it any more.
    fn is_ending(&self) -> Result<bool, Errno> {
        let mut ended = [
            PollFd::from_borrowed_fd(self.live.pidfd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.live.monitor(), PollFlags::IN),
        ];
        poll(&mut ended, Some(&rustix::event::Timespec::default())).map(|ready| ready > 0)
    }
}
