//! Failures of single steps in the tree, before their position in the archive is added.

use std::path::Path;

use rustix::io::Errno;

use crate::entry::Problem;
use crate::error::{Error, Position};

/// A step that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The archive contains something that is refused.
    Refused(Problem),
    /// A system call failed.
    Kernel(&'static str, Errno),
    /// Reading the archive's content failed.
    Stream(Error),
}

impl Failure {
    /// The error about the entry at `position`.
    pub fn at(self, position: &Position) -> Error {
        match self {
            Failure::Refused(problem) => Error::Archive {
                position: position.clone(),
                problem,
            },
            Failure::Kernel(action, errno) => Error::Write {
                position: position.clone(),
                action,
                source: errno.into(),
            },
            Failure::Stream(error) => error,
        }
    }
}

impl Failure {
    /// The error about a path of the host.
    pub fn on(self, path: &Path) -> Error {
        match self {
            Failure::Kernel(action, errno) => Error::io(action, path, errno),
            Failure::Refused(problem) => Error::io("copy", path, std::io::Error::other(problem)),
            Failure::Stream(error) => error,
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Refused(problem)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Stream(error)
    }
}

/// Adds the purpose of a failed system call.
pub(crate) trait Doing<T> {
    fn doing(self, action: &'static str) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, action: &'static str) -> Result<T, Failure> {
        self.map_err(|errno| Failure::Kernel(action, errno))
    }
}
