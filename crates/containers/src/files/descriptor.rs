//! Files that are open already, opened again or named by their descriptor.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Opens a file again that is held as a mere handle (`O_PATH`).
pub(crate) fn reopen(handle: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, path_of(handle), flags, Mode::empty())
}

/// The path of an open file itself, not of its name: proc_pid_fd(5).
pub(crate) fn path_of(handle: impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}
