//! What can go wrong, in words. One enum for the crate; `cli` adds the `error:` prefix and the exit status.

pub(crate) mod diagnosis;

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use crate::ExitStatus;
use crate::channel::Step;
use box_host::Reason;
pub use diagnosis::ExecFailure;

/// A failure of somebody else's making.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the runtime. The display form is one lower-case line that says what was tried on what and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation of the parent failed.
    #[error("{action} {}: {}", path.display(), Reason(source))]
    Io {
        /// The verb, such as `create directory`.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call of the parent that has no path failed.
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
    /// The set-up ended without a message: the child was killed.
    #[error("the container was killed while being set up, at the step \"{step}\" ({status})")]
    Died {
        /// The step that it had begun, such as `mount proc on /proc`.
        step: String,
        /// How it ended.
        status: ExitStatus,
        /// What the user can do about it.
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
    /// What the caller does during a start failed, see [`crate::Lifecycle`] and [`crate::RootFilesystem`].
    #[error(transparent)]
    Caller(BoxError),
    /// A resource limit that was asked for and cannot be enforced.
    #[error("{limit} cannot be enforced: {reason}")]
    Limit {
        /// Which, with its value, such as `memory limit 64.0 MiB`.
        limit: String,
        /// The controller and file, and why it did not work.
        reason: String,
    },
}

impl Error {
    /// The exit status for it: 126 and 127 where the command is at fault, 125 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec(failure) => failure.exit_code(),
            _ => 125,
        }
    }

    /// What the user can do about it, where the failure itself says so.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Died { hint, .. } => hint.clone(),
            Self::Exec(failure) => failure.hint(),
            _ => None,
        }
    }

    /// A failed file operation: `action`, a verb, on `path`.
    pub fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// A system call without a path failed: `action` is the verb and its object.
    pub fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            action: action.into(),
            source: source.into(),
        }
    }

    /// A field of the spec has a value that is not valid.
    pub fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Spec {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// The text of a spec as the kernel takes it.
pub fn c_string(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes)
        .map_err(|_| Error::spec(String::from_utf8_lossy(bytes), "it holds a zero byte"))
}
