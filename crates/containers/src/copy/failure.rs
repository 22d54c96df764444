//! Why a file could not be copied.

use std::path::Path;

use rustix::io::Errno;

use crate::Error;

/// Directories within each other.
pub(super) const DEEPEST: usize = 1024;

/// A failure on the way: of the kernel, for the file at hand, or told already.
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
                "somebody takes away there what was made just now",
            ),
            Self::Kernel(Errno::INTR) => Error::copy("copy to", shown, "interrupted"),
            Self::Kernel(Errno::OVERFLOW) => Error::copy(
                "copy to",
                shown,
                "a directory holds more files than are copied",
            ),
            Self::Kernel(errno) => Error::io("copy to", shown, errno),
        }
    }
}
