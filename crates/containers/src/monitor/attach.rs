//! `box attach`: a client of a detached container. If the container has a terminal, input and output go through its monitor. Without
//! one the client prints what is added to the log, and with `--interactive` sends its input to the container's stdin. A container that
//! does not read never blocks the client.

mod log;
mod terminal;

use std::io::Write;
use std::os::fd::OwnedFd;

use box_run::signals::Forwarding;
use box_run::tty::{self, RawMode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::DETACHED;
use super::socket::{connect_to, send_size};
use crate::container::Live;
use crate::{Container, Error};

/// Options of `box attach`.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// Whether standard input goes to the container.
    pub stdin: bool,
    /// Whether signals to box are forwarded to the container.
    pub forward_signals: bool,
    /// The keys that detach from a terminal.
    pub detach_keys: Vec<u8>,
}

/// The interval for checks of what cannot be polled.
const TICK: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: tty::LOOK_AGAIN.subsec_nanos() as i64,
};

/// The default keys: Control-P, Control-Q.
pub const DETACH_KEYS: [u8; 2] = [16, 17];

/// Why the client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container has ended.
    Ended,
    /// The user typed the detach keys, or a signal ended box.
    Detached,
    /// The client did not read the terminal's output in time.
    FellBehind,
}

/// The destination of the container's output.
pub struct Output<'a> {
    /// For its stdout, or its terminal.
    pub out: &'a mut dyn Write,
    /// For its stderr.
    pub err: &'a mut dyn Write,
}

/// Attaches to the running container. Returns when it has ended, or the user detaches.
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
    // Without a log nothing is printed.
    let mut log = container.log()?;
    if let Some(log) = &mut log {
        log.watch();
        log.seek_to_end()?;
    }
    session.at_log(container, log, output)
}

/// Connects to the monitor; `None` if it has no socket.
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
    /// The number of detach keys that have been typed.
    matched: usize,
    writing: bool,
}

impl Session<'_> {
    /// Handles signals. Returns whether one ends the client.
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
                    // The container may have just ended.
                    self.live.signal(signal).ok();
                }
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Whether the container or its monitor has ended.
    fn is_ending(&self) -> Result<bool, Errno> {
        let mut ended = [
            PollFd::from_borrowed_fd(self.live.pidfd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.live.monitor(), PollFlags::IN),
        ];
        poll(&mut ended, Some(&rustix::event::Timespec::default())).map(|ready| ready > 0)
    }
}
