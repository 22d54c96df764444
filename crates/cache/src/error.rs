//! Everything that can go wrong in the cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, Platform, Reference};
use box_host::{Reason, is_full};

/// The result of every fallible verb of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the cache. The message is complete: it says what was tried, on which path, and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file or directory failed.
    #[error("cannot {action} {}: {}", path.display(), Reason(source))]
    Io {
        /// What was tried, as a verb that fits after "cannot".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A text is not an image reference.
    #[error("invalid reference {text:?}: {reason}")]
    Reference {
        /// The text as given.
        text: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// A text is not a digest.
    #[error("invalid digest {text:?}: {reason}")]
    Digest {
        /// The text as given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A text names no known architecture or platform.
    #[error(
        "unknown platform {text:?}, expected one of x86_64, aarch64, armhf, armv7, x86, ppc64le, riscv64, s390x, \
         loongarch64 or their OCI names (amd64, arm64, arm/v6, arm/v7, 386, ppc64le, riscv64, s390x, loong64), amd64/v2 to v4, \
         arm/v5 to v8"
    )]
    Platform {
        /// The text as given.
        text: String,
    },
    /// A directory is not an OCI image layout that this version reads.
    #[error("{} is not an OCI image layout: {reason}", path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A JSON document does not say what it must.
    #[error("malformed {what} {}: {reason}", path.display())]
    Document {
        /// Which document: `index`, `manifest`, `config`, ...
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes do not match the digest they should have.
    #[error("digest mismatch of {what}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was read: a path or URL.
        what: String,
        /// The digest it should have.
        expected: Box<Digest>,
        /// The digest it has.
        actual: Box<Digest>,
    },
    /// There are more or fewer bytes than there should be.
    #[error("size mismatch of {what}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// What was read: a path or URL.
        what: String,
        /// Number of bytes it should have.
        expected: u64,
        /// Number of bytes it has; of an endless source, those read before giving up.
        actual: u64,
    },
    /// Something is larger than this version accepts.
    #[error("{what} is too large: the limit is {limit} bytes")]
    TooLarge {
        /// What was read: a path or URL.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A blob that something refers to is not in the cache.
    #[error("blob {digest} is missing: there is no {}", path.display())]
    MissingBlob {
        /// The blob's digest.
        digest: Box<Digest>,
        /// Where it should be.
        path: PathBuf,
    },
    /// An image stands in the index but cannot be used as its blobs are missing or damaged.
    #[error("image {reference} ({platform}) in the cache is damaged: {source}")]
    DamagedImage {
        /// The image.
        reference: Box<Reference>,
        /// Its platform.
        platform: Box<Platform>,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// An archive of images is malformed, or holds what does not fit together.
    #[error("cannot load {}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive has no name for its image, and the caller gave none.
    #[error("cannot load {}: its image has no name", path.display())]
    Nameless {
        /// The archive.
        path: PathBuf,
    },
    /// Somebody else holds a lock and the caller did not want to wait.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
}

impl Error {
    /// An [`Error::Io`], for `map_err`. `action` fits after "cannot".
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    pub(crate) fn digest_mismatch(
        what: impl Into<String>,
        expected: Digest,
        actual: Digest,
    ) -> Error {
        Error::DigestMismatch {
            what: what.into(),
            expected: Box::new(expected),
            actual: Box::new(actual),
        }
    }

    pub(crate) fn missing_blob(digest: Digest, path: PathBuf) -> Error {
        Error::MissingBlob {
            digest: Box::new(digest),
            path,
        }
    }

    /// Whether blobs of the cache are missing or damaged, so that fetching the image again repairs it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::DamagedImage { .. } | Error::MissingBlob { .. })
    }

    /// Whether the file system has no room left (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

/// [`Reason`] as text.
pub fn words(error: &io::Error) -> String {
    Reason(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_reads_as_words() {
        let error = Error::io("open", "/nowhere")(io::Error::from_raw_os_error(2));
        assert_eq!(
            error.to_string(),
            "cannot open /nowhere: no such file or directory"
        );
        let full = Error::io("write", "/x")(io::Error::from_raw_os_error(28));
        assert!(full.is_full());
        assert_eq!(full.to_string(), "cannot write /x: no space left on device");
    }
}
