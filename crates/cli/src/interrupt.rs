//! Turns Ctrl-C and termination signals into read errors, so that incomplete work is undone before box exits.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// Blocks the signals that terminate a program, in this thread and in those it starts, until [`Interrupts::finish`].
pub struct Interrupts {
    signals: SignalFd,
    before: SigSet,
}

const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

impl Interrupts {
    /// Blocks the signals. Must be called before any thread is started.
    pub fn hold() -> io::Result<Interrupts> {
        let set: SigSet = ENDING.into_iter().collect();
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Interrupts { signals, before })
    }

    /// A reader that fails once a signal is pending. With `waits_on`, also while it waits for that descriptor to become readable.
    pub fn watch<R>(&self, inner: R, waits_on: Option<OwnedFd>) -> io::Result<Watched<R>> {
        let signals = self.signals.as_fd().try_clone_to_owned()?;
        Ok(Watched {
            inner,
            waits_on,
            signals,
        })
    }

    /// Whether a signal is pending.
    pub fn is_pending(&self) -> bool {
        wait(self.signals.as_fd(), None).is_err()
    }

    /// Unblocks the signals. A pending one ends box now.
    pub fn finish(self) -> io::Result<()> {
        // A signal that was seen by poll(2) is still pending, since nothing has read it.
        self.before.thread_set_mask()?;
        Ok(())
    }
}

/// See [`Interrupts::watch`].
pub struct Watched<R> {
    inner: R,
    waits_on: Option<OwnedFd>,
    signals: OwnedFd,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        wait(
            self.signals.as_fd(),
            self.waits_on.as_ref().map(AsFd::as_fd),
        )?;
        self.inner.read(into)
    }
}

/// Waits until there is something to read, or fails if a signal is pending. Without a descriptor it does not wait.
fn wait(signals: BorrowedFd<'_>, waits_on: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut watched = vec![PollFd::from_borrowed_fd(signals, PollFlags::IN)];
    watched.extend(waits_on.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let at_once = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let timeout = waits_on.is_none().then_some(&at_once);
    loop {
        match poll(&mut watched, timeout) {
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other?;
                break;
            }
        }
    }
    match watched[0].revents().is_empty() {
        true => Ok(()),
        false => Err(io::Error::other("interrupted")),
    }
}
