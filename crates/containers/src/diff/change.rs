//! A change, and the files of a container on disk.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One difference between a container and its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The kind of change.
    pub kind: ChangeKind,
    /// Absolute, in the container.
    pub path: PathBuf,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The image has no such file.
    Added,
    /// The file, the metadata of the directory, or something in the directory differs.
    Changed,
    /// The file exists in the image only.
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

/// The files of a container on disk.
#[derive(Clone, Debug)]
pub enum WritableFiles {
    /// The upper directory of its overlay.
    Upper(PathBuf),
    /// Its copy of the layers: a missing file was deleted, an identical one is no change.
    Copy(PathBuf),
}
