//! Terminals: the container's own, and the caller's, which is put into raw mode and always restored.

pub(crate) mod allocation;
mod raw;
pub(crate) mod relay;

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

pub use raw::{LOOK_AGAIN, RawMode, is_ours};

/// The size of the terminal that box was started from.
pub fn caller_size() -> Option<Winsize> {
    [stdin(), stdout(), stderr()]
        .into_iter()
        .find_map(|file| tcgetwinsize(file).ok())
}

/// Gives the container's terminal the size of the caller's.
pub(crate) fn copy_size(master: BorrowedFd<'_>) -> Result<(), Errno> {
    caller_size().map_or(Ok(()), |size| tcsetwinsize(master, size))
}

/// Opens the host's /dev/null, for a process of box, or for a command: `take_stdio` replaces it by the container's.
pub fn null() -> Result<OwnedFd, Errno> {
    open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}
