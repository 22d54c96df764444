//! News of changed files.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

// linux/fcntl.h; libc lacks it.
const DN_MODIFY: libc::c_int = 2;

/// Asks for one SIGIO when a file in the directory is written to next. fcntl(2), `F_NOTIFY`
pub fn notify_of_changes(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: F_NOTIFY takes an integer and touches no memory.
    let status = unsafe { libc::fcntl(directory.as_raw_fd(), libc::F_NOTIFY, DN_MODIFY) };
    super::result(status.into()).map(drop)
}
