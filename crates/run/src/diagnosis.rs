//! Why a command could not be executed.

use std::path::PathBuf;

/// The command was found wanting. Statuses as shells have them: 127 not found, 126 found and not executable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecFailure {
    /// No file of that name, in PATH or where the path says.
    #[error("{command}: no such command in the container")]
    NotFound {
        /// The command as given.
        command: String,
    },
    /// The file is there but cannot be executed.
    #[error("{}: {reason}", path.display())]
    NotExecutable {
        /// The file in the container.
        path: PathBuf,
        /// What execve(2) says, in words.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl ExecFailure {
    /// 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
        }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => None,
            Self::NotExecutable { hint, .. } => hint.clone(),
        }
    }
}
