//! The errors of this crate. `cli` adds the `error:` prefix and the exit status.

use std::io;
use std::path::{Path, PathBuf};

/// An operation on a container failed. The display form is one lower-case line: what failed, on what, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The runtime failed, or a file operation or system call of this crate.
    #[error(transparent)]
    Run(box_run::Error),
    /// The layers of the image could not be used.
    #[error(transparent)]
    Layers(Box<box_unpack::Error>),
    /// The log was written before records had a time and a stream.
    #[error("the log was written by an older box, in another format: it is {}", path.display())]
    OldLog {
        /// The log file.
        path: PathBuf,
    },
    /// A copy into or out of a container was refused or interrupted.
    #[error("cannot {action} {}: {reason}", path.display())]
    Copy {
        /// The verb, such as `copy to`.
        action: &'static str,
        /// The file, prefixed with the container's name.
        path: PathBuf,
        /// Why it failed.
        reason: String,
    },
    /// The layers could not be copied for a container with `--storage copy`.
    #[error("cannot copy the layers for {name}: {source}")]
    CopyLayers {
        /// The container.
        name: String,
        /// Why it failed.
        source: Box<box_unpack::Error>,
    },
    /// The name breaks the rules for names.
    #[error("{name:?} is not a valid container name: {reason}")]
    BadName {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A container with that name exists.
    #[error("the name {name} is taken by a container of {image} ({status})")]
    NameTaken {
        /// The requested name.
        name: String,
        /// The image of the container that has the name.
        image: String,
        /// `running`, `exited (0)`, ...
        status: String,
    },
    /// No container has that name.
    #[error("there is no container named {name}")]
    NoSuchContainer {
        /// The requested name.
        name: String,
    },
    /// The operation needs a stopped container.
    #[error("{name} is running (pid {pid})")]
    Running {
        /// The container.
        name: String,
        /// Its init process, in the caller's pid namespace.
        pid: i32,
    },
    /// The operation needs a running container.
    #[error("{name} is not running ({status})")]
    NotRunning {
        /// The container.
        name: String,
        /// Its actual status.
        status: String,
    },
    /// Another process holds the container's lock.
    #[error("{name} is in use by another box process")]
    Busy {
        /// The container.
        name: String,
    },
    /// The container runs in the foreground: another process has its standard streams.
    #[error(
        "{name} runs in the foreground of another box process, so it has no log and cannot be attached to"
    )]
    Foreground {
        /// The container.
        name: String,
    },
    /// The monitor of a detached container reported a failure.
    #[error("{message}")]
    Monitor {
        /// The display form of the monitor's error.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// The exit status of box.
        code: u8,
    },
    /// The image has more layers than the kernel stacks in an overlay.
    #[error("the image has {layers} layers, and the kernel stacks {most} at most")]
    TooManyLayers {
        /// Number of layers of the image.
        layers: usize,
        /// The kernel's limit.
        most: usize,
    },
    /// The image has no such user or group.
    #[error("{kind} {name} is not in the image's /etc/{file}")]
    NoSuchUser {
        /// `user` or `group`.
        kind: &'static str,
        /// The requested user or group.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// A file of box has invalid content.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Why it is invalid.
        reason: String,
    },
}

impl From<box_run::Error> for Error {
    /// Unwraps an error that a callback of this crate returned to the runtime.
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

impl From<box_host::Error> for Error {
    fn from(error: box_host::Error) -> Self {
        match error {
            box_host::Error::Io { path, source } => Self::io("read", &path, source),
            box_host::Error::Format { path, reason } => Self::Corrupt {
                path,
                reason: reason.to_owned(),
            },
            other => Self::Run(box_run::Error::Caller(other.into())),
        }
    }
}

impl From<Error> for box_run::Error {
    /// Wraps an error for a callback.
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
            Self::Monitor { code, .. } => *code,
            _ => 125,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Run(box_run::Error::io(action, path, source))
    }

    pub(crate) fn copy(action: &'static str, path: &Path, reason: impl Into<String>) -> Self {
        Self::Copy {
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
