//! One difference, and where the files of a container are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One difference between a container and its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happened to it.
    pub kind: ChangeKind,
    /// Absolute, in the container.
    pub path: PathBuf,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The image does not have it.
    Added,
    /// The image has another file there, or the directory changed in what it is or holds.
    Changed,
    /// The image has it.
    Deleted,
}

impl ChangeKind {
    /// `A`, `C` or `D`.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// Where a container's changes are.
#[derive(Clone, Debug)]
pub enum WritableFiles {
    /// The upper directory of its overlay.
    Upper(PathBuf),
    /// Its copy of the layers: what is missing there was deleted, what is as in the layers is no change.
    Copy(PathBuf),
}
