//! Failures of a copy.

use std::path::Path;

use rustix::io::Errno;

use crate::Error;

/// The deepest nesting of directories.
pub(super) const DEEPEST: usize = 1024;

/// A failure of a system call on the current file, or a complete error.
pub(super) enum Failure {
    Kernel(Errno),
    Explained(Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl Failure {
    pub(super) fn at(self, shown: &Path) -> Error {
        match self {
            Self::Explained(error) => error,
            Self::Kernel(Errno::AGAIN) => Error::copy(
                "copy to",
                shown,
                "another process keeps renaming or removing files there",
            ),
            Self::Kernel(Errno::INTR) => Error::copy("copy to", shown, "interrupted"),
            Self::Kernel(Errno::OVERFLOW) => {
                Error::copy("copy to", shown, "a directory has too many files")
            }
            Self::Kernel(errno) => Error::io("copy to", shown, errno),
        }
    }
}
