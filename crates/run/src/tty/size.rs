//! The size of a terminal's window.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

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
