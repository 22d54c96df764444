//! Signals for a container: those that box forwards, and those that would be lost.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use box_host::process::{SignalSet, Status};
use rustix::io::Errno;

use crate::sys::process;

/// The signals that are forwarded. They are blocked while this value lives, and read from its descriptor.
///
/// SIGTTIN and SIGTTOU are blocked as well: the terminal does not stop box in the background, and box leaves the terminal alone
/// then (see [`crate::tty`]). Signals caused by a fault of box keep their effect.
#[derive(Debug)]
pub struct Forwarding {
    file: OwnedFd,
    before: u64,
    stops: bool,
}

/// The terminal sends these to a job in the background.
const OF_BACKGROUND: [i32; 2] = [libc::SIGTTIN, libc::SIGTTOU];

/// The signals that box forwards, besides the real-time signals.
const FORWARDED: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// A signal that [`Forwarding`] received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A signal for the container.
    Signal(i32),
    /// A request to kill the container as if this signal had ended it.
    End(i32),
}

/// The signal that carries such a request. The requested signal itself may be one that would end box.
const END: i32 = libc::SIGTERM;

/// Marks such a request; the lowest byte is the number of the requested signal.
const ASKED: i32 = 0x626f_7800;

/// Asks the process that watches a container to kill it as if `signal` had ended it. For a signal that its first process would not
/// receive.
pub fn ask_to_end(watcher: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    process::queue_signal(watcher, END, ASKED | signal)
}

/// Signals that users send to end a process, and whose default action does so.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

impl Forwarding {
    /// Blocks the signals. Like docker, box also forwards SIGTSTP: the container is the job.
    pub fn to_container() -> Result<Self, Errno> {
        Self::begin(true)
    }

    /// The same, but SIGTSTP stops box itself: for a command that joined a container, which would stay stopped there.
    pub fn to_command() -> Result<Self, Errno> {
        Self::begin(false)
    }

    fn begin(stops: bool) -> Result<Self, Errno> {
        const REAL_TIME: u64 = u64::MAX << 33;
        let mask = FORWARDED
            .into_iter()
            .chain(OF_BACKGROUND)
            .chain(stops.then_some(libc::SIGTSTP))
            .fold(REAL_TIME, |mask, signal| mask | 1 << (signal - 1));
        let before = process::set_signal_mask(mask)?;
        Ok(Self {
            file: process::signalfd(mask)?,
            before,
            stops,
        })
    }

    /// The next pending signal; `None` if there is none.
    pub fn next(&self) -> Result<Option<i32>, Errno> {
        Ok(self.next_request()?.map(|request| match request {
            Request::Signal(signal) => signal,
            Request::End(_) => END,
        }))
    }

    /// The same for the process that watches a container: the signal may carry a request of [`ask_to_end`].
    pub(crate) fn next_request(&self) -> Result<Option<Request>, Errno> {
        loop {
            match self.read()? {
                // The terminal does not send these to a process that blocks them, so someone sent this one to stop box.
                Some(Request::Signal(signal)) if !self.stops && OF_BACKGROUND.contains(&signal) => {
                }
                request => return Ok(request),
            }
        }
    }

    fn read(&self) -> Result<Option<Request>, Errno> {
        // struct signalfd_siginfo: 128 bytes, the number at their beginning, the code at 8, the sender's number at 44, signalfd(2).
        let mut bytes = [0u8; 128];
        let number = |bytes: &[u8; 128], at: usize| {
            i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        match rustix::io::read(&self.file, &mut bytes[..]) {
            Ok(128) => {
                let (signal, code, value) =
                    (number(&bytes, 0), number(&bytes, 8), number(&bytes, 44));
                let asked = value & !0xff == ASKED && (1..=64).contains(&(value & 0xff));
                Ok(Some(match (signal, code) {
                    (END, libc::SI_QUEUE) if asked => Request::End(value & 0xff),
                    _ => Request::Signal(signal),
                }))
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The descriptor to wait for.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // Restoring a valid mask cannot fail.
        let _ = process::set_signal_mask(self.before);
    }
}

/// Whether `signal`, which users send to end a process, would do nothing to the container: PID 1 of a pid namespace ignores signals
/// that it has no handler for, pid_namespaces(7). `pid` is that process in the caller's pid namespace.
pub fn would_be_lost(pid: i32, signal: i32) -> bool {
    ENDING.contains(&signal) && is_without_handler(pid, signal)
}

/// Whether the default action of `signal` would end any other process, signal(7), but not the container's first one.
pub fn would_end_others(pid: i32, signal: i32) -> bool {
    let others = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        // PID 1 cannot ignore these two.
        libc::SIGKILL,
        libc::SIGSTOP,
    ];
    !others.contains(&signal) && is_without_handler(pid, signal)
}

/// The signal that a key of a terminal stands for, of those that end a job: Ctrl-C and Ctrl-\.
pub fn of_key(key: u8) -> Option<i32> {
    match key {
        3 => Some(libc::SIGINT),
        28 => Some(libc::SIGQUIT),
        _ => None,
    }
}

/// Whether the terminal with this master side has just sent `signal` for a key, and to a PID 1 that does not receive it.
pub(crate) fn is_lost_key(pid: i32, master: BorrowedFd<'_>, signal: i32) -> Result<bool, Errno> {
    use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};
    let modes = tcgetattr(master)?.local_modes;
    let job = tcgetpgrp(master).map(|job| job.as_raw_nonzero().get());
    Ok(modes.contains(LocalModes::ISIG) && job == Ok(pid) && would_be_lost(pid, signal))
}

fn is_without_handler(pid: i32, signal: i32) -> bool {
    // For a process that is gone there is nothing to decide.
    Status::of(pid).is_ok_and(|status| is_lost(&status, signal))
}

/// Whether the process is PID 1 of an inner namespace, and neither catches nor ignores the signal, nor blocks it to read it from a
/// signalfd.
fn is_lost(status: &Status, signal: i32) -> bool {
    let sets = [SignalSet::Caught, SignalSet::Ignored, SignalSet::Blocked];
    status.innermost_pid() == Some(1) && !sets.iter().any(|set| status.has_signal(*set, signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(nspid: &str, caught: u64, ignored: u64, blocked: u64) -> Status {
        Status::new(format!(
            "Name:\tx\nNSpid:\t{nspid}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        ))
    }

    #[test]
    fn only_pid_1_without_a_handler_loses_signals() {
        let term = 1 << (libc::SIGTERM - 1);
        assert!(is_lost(&status("812\t1", 0, 0, 0), libc::SIGTERM));
        assert!(is_lost(
            &status("812\t1", 1 << (libc::SIGINT - 1), 0, 0),
            libc::SIGTERM
        ));
        assert!(!is_lost(&status("812", 0, 0, 0), libc::SIGTERM));
        for (caught, ignored, blocked) in [(term, 0, 0), (0, term, 0), (0, 0, term)] {
            assert!(!is_lost(
                &status("812\t1", caught, ignored, blocked),
                libc::SIGTERM
            ));
        }
        assert!(!is_lost(&Status::new(""), libc::SIGTERM));
        assert!(!would_be_lost(std::process::id() as i32, libc::SIGUSR1));
    }
}
