//! The errors of the cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, Platform, Reference};
use box_host::{Reason, is_full};

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the cache. Its message is complete: it says what was tried, on which path, and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file or directory failed.
    #[error("cannot {action} {}: {}", path.display(), Reason(source))]
    Io {
        /// The failed action, as a verb phrase after "cannot".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Not an image reference.
    #[error("invalid reference {text:?}: {reason}")]
    Reference {
        /// The text as given.
        text: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// Not a digest.
    #[error("invalid digest {text:?}: {reason}")]
    Digest {
        /// The text as given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Not the name of a known architecture or platform.
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
        /// The reason.
        reason: String,
    },
    /// A JSON document is malformed.
    #[error("malformed {what} {}: {reason}", path.display())]
    Document {
        /// Which document: `index`, `manifest`, `config`, ...
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The bytes do not have the expected digest.
    #[error("digest mismatch of {what}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The path or URL that was read.
        what: String,
        /// The digest it should have.
        expected: Box<Digest>,
        /// The digest it has.
        actual: Box<Digest>,
    },
    /// There are more or fewer bytes than expected.
    #[error("size mismatch of {what}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// The path or URL that was read.
        what: String,
        /// Number of bytes it should have.
        expected: u64,
        /// Number of bytes it has. Reading stops after the first byte too many.
        actual: u64,
    },
    /// Larger than this version accepts.
    #[error("{what} is too large: the limit is {limit} bytes")]
    TooLarge {
        /// The path or URL that was read.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A blob is not in the cache although something refers to it.
    #[error("blob {digest} is missing: there is no {}", path.display())]
    MissingBlob {
        /// The blob's digest.
        digest: Box<Digest>,
        /// Where it should be.
        path: PathBuf,
    },
    /// An image is in the index, but its blobs are missing or damaged.
    #[error("image {reference} ({platform}) in the cache is damaged: {source}")]
    DamagedImage {
        /// The image.
        reference: Box<Reference>,
        /// Its platform.
        platform: Box<Platform>,
        /// The reason.
        source: Box<Error>,
    },
    /// An image archive is malformed, or its parts do not fit together.
    #[error("cannot load {}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// An archive has no name for its image, and the caller gave none.
    #[error("cannot load {}: its image has no name", path.display())]
    Nameless {
        /// The archive.
        path: PathBuf,
    },
    /// Another process holds a lock, and the caller did not want to wait.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The locked file.
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

    /// Whether blobs of the cache are missing or damaged. Fetching the image again repairs that.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::DamagedImage { .. } | Error::MissingBlob { .. })
    }

    /// Whether the file system is full, see [`is_full`].
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
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
