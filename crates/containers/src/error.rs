//! What can go wrong, in words. One enum for the crate; `cli` adds the `error:` prefix and the exit status.

use std::io;
use std::path::{Path, PathBuf};

/// A failure with a container. The display form is one lower-case line that says what was tried on what and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A failure of the runtime, or of a file or a system call here.
    #[error(transparent)]
    Run(box_run::Error),
    /// A failure with the layers of the image.
    #[error(transparent)]
    Layers(Box<box_unpack::Error>),
    /// A log from before its records had a time and a stream.
    #[error("the log was written by an older box, in another format: it is {}", path.display())]
    OldLog {
        /// The file with the container's output.
        path: PathBuf,
    },
    /// A copy into or out of a container that cannot be made, or not as asked.
    #[error("cannot {action} {}: {reason}", path.display())]
    Copying {
        /// The verb, such as `copy to`.
        action: &'static str,
        /// What it was to be done to, with the container's name before it.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The layers could not be copied for a container that is to have a copy.
    #[error("copy the layers for {name}: {source}")]
    Copy {
        /// The container.
        name: String,
        /// Why it failed.
        source: Box<box_unpack::Error>,
    },
    /// A name that does not follow the rules.
    #[error("{name:?} is not a valid container name: {reason}")]
    BadName {
        /// What was given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A container of that name exists.
    #[error("the name {name} is taken by a container of {image} ({status})")]
    NameTaken {
        /// The name asked for.
        name: String,
        /// The image its owner was made from.
        image: String,
        /// `running`, `exited (0)`, ...
        status: String,
    },
    /// There is no container of that name.
    #[error("there is no container named {name}")]
    NoSuchContainer {
        /// The name asked for.
        name: String,
    },
    /// The operation needs a stopped container.
    #[error("{name} is running (pid {pid})")]
    Running {
        /// The container.
        name: String,
        /// Its first process, in the caller's pid namespace.
        pid: i32,
    },
    /// The operation needs a running container.
    #[error("{name} is not running ({status})")]
    NotRunning {
        /// The container.
        name: String,
        /// What it is instead.
        status: String,
    },
    /// Another process works on the container.
    #[error("{name} is in use by another box process")]
    Busy {
        /// The container.
        name: String,
    },
    /// Somebody else has the container's standard input and output.
    #[error(
        "{name} runs in the foreground of another box process: nobody can attach to it, and it has no log"
    )]
    Attached {
        /// The container.
        name: String,
    },
    /// What failed in the process that stays with a detached container.
    #[error("{message}")]
    Told {
        /// The display form of its error.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// What box exits with.
        code: u8,
    },
    /// The image has more layers than an overlay can be made of.
    #[error("the image has {layers} layers, and the kernel stacks {most} at most")]
    TooManyLayers {
        /// Of the image.
        layers: usize,
        /// What the kernel takes.
        most: usize,
    },
    /// A user or group is not known in the image.
    #[error("{kind} {name} is not in the image's /etc/{file}")]
    NoSuchUser {
        /// `user` or `group`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// A file of ours does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<box_run::Error> for Error {
    /// What the runtime was told by a callback of ours becomes what it was.
    fn from(error: box_run::Error) -> Self {
        match error {
            box_run::Error::Caller(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Run(box_run::Error::Caller(other)),
            },
            error => Self::Run(error),
        }
    }
}

impl From<box_unpack::Error> for Error {
    fn from(error: box_unpack::Error) -> Self {
        Self::Layers(Box::new(error))
    }
}

impl From<Error> for box_run::Error {
    /// For callbacks.
    fn from(error: Error) -> Self {
        match error {
            Error::Run(error) => error,
            error => Self::Caller(error.into()),
        }
    }
}

impl Error {
    /// The exit status for it: 126 and 127 where the command is at fault, 125 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Run(error) => error.exit_code(),
            Self::Told { code, .. } => *code,
            _ => 125,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Run(box_run::Error::io(action, path, source))
    }

    pub(crate) fn copying(action: &'static str, path: &Path, reason: impl Into<String>) -> Self {
        Self::Copying {
            action,
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Run(box_run::Error::system(action, source))
    }

    pub(crate) fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Run(box_run::Error::spec(field, reason))
    }
}
