//! The errors of this crate, one enum for all.

pub(crate) mod diagnosis;

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use crate::ExitStatus;
use crate::channel::Step;
use box_host::Reason;
pub use diagnosis::ExecFailure;

/// An error of the caller's callbacks.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the runtime. The display form is one lower-case line: the action, its object, and the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation of the parent failed.
    #[error("{action} {}: {}", path.display(), Reason(source))]
    Io {
        /// The verb, such as `create directory`.
        action: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call of the parent without a path failed.
    #[error("{action}: {}", Reason(source))]
    System {
        /// The verb and its object, such as `clone the container's first process`.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of the container's set-up failed in the child.
    #[error("{action}: {}", Reason(source))]
    Setup {
        /// The step.
        step: Step,
        /// The step and its object in words, such as `mount proc on /proc`.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The child was killed during the set-up, without a message.
    #[error("the container was killed while being set up, at the step \"{step}\" ({status})")]
    Died {
        /// The last step that it began, such as `mount proc on /proc`.
        step: String,
        /// How it ended.
        status: ExitStatus,
        /// Advice for the user.
        hint: Option<String>,
    },
    /// The command could not be executed (exit status 126 or 127).
    #[error(transparent)]
    Exec(#[from] ExecFailure),
    /// The runtime spec asks for something that is not valid.
    #[error("{field}: {reason}")]
    Spec {
        /// The field of the OCI runtime spec.
        field: String,
        /// What is wrong, with the value.
        reason: String,
    },
    /// An OCI hook failed or ran too long.
    #[error("{kind} hook {}: {reason}", path.display())]
    Hook {
        /// `createRuntime`, `poststart`, ...
        kind: &'static str,
        /// The hook's program.
        path: PathBuf,
        /// How it failed.
        reason: String,
    },
    /// A capability of this name does not exist.
    #[error("unknown capability {name}")]
    UnknownCapability {
        /// The name as given.
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
    /// A callback of the caller failed, see [`crate::Lifecycle`] and [`crate::RootFilesystem`].
    #[error(transparent)]
    Caller(BoxError),
    /// A resource limit of the spec that cannot be enforced.
    #[error("{limit} cannot be enforced: {reason}")]
    Limit {
        /// The limit and its value, such as `memory limit 64.0 MiB`.
        limit: String,
        /// The controller and file, and why it failed.
        reason: String,
    },
}

impl Error {
    /// The exit status that box reports: 126 or 127 if the command is at fault, 125 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec(failure) => failure.exit_code(),
            _ => 125,
        }
    }

    /// Advice for the user, if there is any.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Died { hint, .. } => hint.clone(),
            Self::Exec(failure) => failure.hint(),
            _ => None,
        }
    }

    /// An [`Error::Io`]: `action` is the verb.
    pub fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// An [`Error::System`]: `action` is the verb and its object.
    pub fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            action: action.into(),
            source: source.into(),
        }
    }

    /// An [`Error::Spec`]: the value of a field is not valid.
    pub fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Spec {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// Converts a text of the spec for the kernel, which allows no zero byte.
pub fn c_string(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes)
        .map_err(|_| Error::spec(String::from_utf8_lossy(bytes), "it holds a zero byte"))
}
