//! The paths of all files in the cache. Nothing else joins them.

use std::path::{Path, PathBuf};

use crate::Digest;

/// The paths of one cache directory. Nothing here touches the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below a directory.
    pub fn new(root: impl Into<PathBuf>) -> Layout {
        Layout { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that marks an OCI image layout.
    pub fn marker(&self) -> PathBuf {
        self.root.join("oci-layout")
    }

    /// The list of all images.
    pub fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// The directory of the blobs with SHA-256 digests.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// A blob's file.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!(
            "blobs/{}/{}",
            digest.algorithm().as_str(),
            digest.hex()
        ))
    }

    /// The directory of downloads in progress and of files written aside.
    pub fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// The directory of the answers derived from the index.
    pub fn lookup(&self) -> PathBuf {
        self.root.join("lookup")
    }

    /// The directory of the stamps of last use.
    pub fn used(&self) -> PathBuf {
        self.root.join("used")
    }

    /// The directory of the notes of lock files.
    pub fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// The directory of blobs found damaged.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The directory of lock files.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// The lock of writers of the index.
    pub(crate) fn index_lock(&self) -> PathBuf {
        self.root.join("locks/index")
    }

    /// Locked shared by processes that add names to the cache or rely on them, exclusively by the collector.
    pub(crate) fn collector_lock(&self) -> PathBuf {
        self.root.join("locks/gc")
    }
}
