//! Terminals: the container's own, and the caller's, which is put into raw mode and always restored.

pub(crate) mod allocation;
mod raw;
pub(crate) mod relay;
mod size;

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

pub use raw::{LOOK_AGAIN, RawMode, is_ours};
pub use size::caller_size;
pub(crate) use size::copy_size;

/// Opens the host's /dev/null, for a process of box, or for a command: `take_stdio` replaces it by the container's.
pub fn null() -> Result<OwnedFd, Errno> {
    open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}
