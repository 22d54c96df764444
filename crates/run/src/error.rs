//! What can go wrong, in words. One enum for the crate; `cli` adds the `error:` prefix and the exit status.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnosis::ExecFailure;

/// A failure of the engine. The display form is one lower-case line that says what was tried on what and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation of the parent failed.
    #[error("{action} {}: {}", path.display(), Words(source))]
    Io {
        /// The verb, such as `create directory`.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
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
    /// A system call of the parent that has no path failed.
    #[error("{action}: {}", Words(source))]
    System {
        /// The verb and its object, such as `clone the container's first process`.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of the container's set-up failed in the child.
    #[error("{step}: {}", Words(source))]
    Setup {
        /// The step and its object, such as `mount proc on /proc`.
        step: String,
        /// Why it failed.
        source: io::Error,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// The layers could not be copied for an instance that is to have a copy.
    #[error("copy the layers for {name}: {source}")]
    Copy {
        /// The instance.
        name: String,
        /// Why it failed.
        source: crate::storage::BoxError,
    },
    /// The set-up ended without a message: the child was killed.
    #[error("the container was killed while being set up, at the step \"{step}\" ({status})")]
    Died {
        /// The step that it had begun, such as `mount proc on /proc`.
        step: String,
        /// How it ended.
        status: crate::ExitStatus,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// The command could not be executed (exit status 126 or 127).
    #[error(transparent)]
    Exec(#[from] ExecFailure),
    /// A name that does not follow the rules.
    #[error("{name:?} is not a valid container name: {reason}")]
    BadName {
        /// What was given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// An instance of that name exists.
    #[error("the name {name} is taken by a container of {image} ({status})")]
    NameTaken {
        /// The name asked for.
        name: String,
        /// The image its owner was made from.
        image: String,
        /// `running`, `exited (0)`, ...
        status: String,
    },
    /// There is no instance of that name.
    #[error("there is no container named {name}")]
    NoSuchInstance {
        /// The name asked for.
        name: String,
    },
    /// The operation needs a stopped instance.
    #[error("{name} is running (pid {pid})")]
    Running {
        /// The instance.
        name: String,
        /// Its first process, in the caller's pid namespace.
        pid: i32,
    },
    /// The operation needs a running instance.
    #[error("{name} is not running ({status})")]
    NotRunning {
        /// The instance.
        name: String,
        /// What it is instead.
        status: String,
    },
    /// Another process works on the instance.
    #[error("{name} is in use by another box process")]
    Busy {
        /// The instance.
        name: String,
    },
    /// Somebody else has the container's standard input and output.
    #[error(
        "{name} runs in the foreground of another box process: nobody can attach to it, and it has no log"
    )]
    Attached {
        /// The instance.
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
    /// A file of ours does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime spec asks for something that is not valid.
    #[error("{field}: {reason}")]
    Spec {
        /// The field of the OCI runtime spec, or the flag.
        field: String,
        /// What is wrong, with the value.
        reason: String,
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
    /// An OCI hook failed or ran too long.
    #[error("{kind} hook {}: {reason}", path.display())]
    Hook {
        /// `createRuntime`, `poststart`, ...
        kind: &'static str,
        /// The hook's program.
        path: PathBuf,
        /// What it did.
        reason: String,
    },
    /// Not a capability that the kernel or we know.
    #[error("unknown capability {name}")]
    UnknownCapability {
        /// What was asked for.
        name: String,
    },
    /// The kernel would refuse this capability.
    #[error("capability {name} cannot be given: {reason}")]
    CapabilityNotHeld {
        /// Such as `CAP_SYS_RESOURCE`.
        name: String,
        /// Which rule of capabilities(7) is in the way.
        reason: &'static str,
    },
    /// A seccomp profile that cannot be read or enforced.
    #[error("seccomp profile: {reason}")]
    SeccompProfile {
        /// What is wrong, with the value.
        reason: String,
    },
    /// A resource limit that was asked for and cannot be enforced.
    #[error("{limit} cannot be enforced: {reason}")]
    Limit {
        /// The flag, such as `--memory 64m`.
        limit: String,
        /// The controller and file, and why it did not work.
        reason: String,
    },
}

impl Error {
    /// What box exits with: 125 for its own failures, 126 and 127 where the command is at fault.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec(failure) => failure.exit_code(),
            Self::Told { code, .. } => *code,
            _ => 125,
        }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Setup { hint, .. } | Self::Told { hint, .. } | Self::Died { hint, .. } => {
                hint.clone()
            }
            Self::Exec(failure) => failure.hint(),
            Self::Running { name, .. } => {
                Some(format!("stop it first, or use rm -f: box stop {name}"))
            }
            Self::TooManyLayers { .. } => {
                Some("give the container a copy of its files: --storage copy".to_owned())
            }
            Self::NameTaken { name, .. } => Some(format!(
                "remove it with box rm {name}, or choose another name"
            )),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn copying(action: &'static str, path: &Path, reason: impl Into<String>) -> Self {
        Self::Copying {
            action,
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            action: action.into(),
            source: source.into(),
        }
    }

    pub(crate) fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Spec {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// An I/O error as people say it: lower case, without `(os error N)`.
pub(crate) struct Words<'a>(pub &'a io::Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or(&text);
        let mut letters = text.chars();
        // "No such file" is written "no such file"; an acronym such as "RPC" stays.
        match (letters.next(), letters.clone().next()) {
            (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
                write!(out, "{}{}", first.to_lowercase(), letters.as_str())
            }
            _ => out.write_str(text),
        }
    }
}
