//! Failures between a reference and an image in the cache.

use std::io;
use std::path::{Path, PathBuf};

use box_cache::Reason;
use box_transfer::{Attempts, Printable, with_causes};

use crate::BoxError;
use crate::source::alpine::AlpineError;
use crate::trust::Refusal;

/// The result of every fallible verb of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a pull, of an import, or of a query to mirrors. The message is complete, and free of control characters
/// whatever a server sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cache failed.
    #[error(transparent)]
    Cache(box_cache::Error),
    /// The transfer failed on this side.
    #[error(transparent)]
    Transfer(box_transfer::Error),
    /// Alpine has no image of this name, or its mirrors do not.
    #[error(transparent)]
    Alpine(#[from] AlpineError),
    /// A system call failed.
    #[error("cannot {action} {}: {}", path.display(), Reason(source))]
    Io {
        /// What was attempted, as a verb that fits after "cannot".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No source publishes images of this name.
    #[error("cannot pull {name}: nobody publishes images of this name")]
    UnknownName {
        /// The name in the reference.
        name: Printable,
    },
    /// A registry refuses, or has no such image.
    #[error(transparent)]
    Registry(#[from] box_registry::Error),
    /// The registry has no image for the platform.
    #[error(
        "cannot pull {reference}: no image for {wanted}: it has {}",
        list(platforms)
    )]
    NoPlatform {
        /// The reference requested.
        reference: String,
        /// The platform requested.
        wanted: String,
        /// The platforms that there are.
        platforms: Vec<String>,
    },
    /// The reference means something that is stored in a registry and is no image.
    #[error("cannot pull {reference}: it is an artifact ({kind}), not an image")]
    Artifact {
        /// The reference requested.
        reference: String,
        /// The type of the artifact.
        kind: Printable,
    },
    /// The documents of an image are malformed, or do not fit together.
    #[error("cannot pull {reference}: {why}")]
    Document {
        /// The reference requested.
        reference: String,
        /// What is wrong.
        why: Printable,
    },
    /// No location has the file, or none can be reached.
    #[error("cannot fetch {what}: {attempts}")]
    Unreachable {
        /// Path below the mirrors, or the URL.
        what: String,
        /// Every try, and how it ended.
        attempts: Attempts,
    },
    /// The reference or the lock file demands a digest that the release does not have.
    #[error("cannot pull {reference}: expected {expected}, but {found}")]
    WrongDigest {
        /// The reference without its digest.
        reference: String,
        /// The digest demanded.
        expected: String,
        /// What was found instead.
        found: String,
    },
    /// The image has a signature that is not valid.
    #[error("cannot accept the signature {url}: {why}")]
    BadSignature {
        /// Where the signature came from.
        url: String,
        /// Why it is not valid.
        why: String,
    },
    /// The cache has the image for other platforms only, and nothing may be fetched.
    #[error(
        "cannot fetch {reference} for {wanted} offline: the cache has it for {} only",
        list(platforms)
    )]
    OtherPlatform {
        /// The reference requested.
        reference: String,
        /// The platform requested.
        wanted: String,
        /// The platforms in the cache.
        platforms: Vec<String>,
    },
    /// A signature is required, and the image in the cache has none by a trusted key.
    #[error("cannot use {0}: it is in the cache without the signature of a trusted publisher")]
    Untrusted(String),
    /// An image cannot be signed.
    #[error("cannot sign {what}: {why}")]
    Sign {
        /// The repository and the digest.
        what: String,
        /// Why.
        why: String,
    },
    /// The policy for images of this name does not permit it.
    #[error("cannot use {reference}: {refusal}")]
    Refused {
        /// The reference requested.
        reference: String,
        /// Why.
        refusal: Refusal,
    },
    /// A signature is required, and no mirror has one.
    #[error("cannot verify {what}: it is not signed (yet): {attempts}")]
    NotSigned {
        /// The file that should be signed.
        what: String,
        /// Every try to get the signature.
        attempts: Attempts,
    },
    /// A file of trusted keys is not usable.
    #[error("cannot use the keys in {name}: {why}")]
    Key {
        /// The file.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The image is not in the cache, and nothing may be fetched.
    #[error(
        "cannot fetch {reference} offline, and it is not in the cache; cached: {}",
        list(cached)
    )]
    Offline {
        /// The reference requested.
        reference: String,
        /// The references in the cache.
        cached: Vec<String>,
    },
    /// Something has to be fetched, and nothing may be.
    #[error("cannot fetch {0} offline")]
    OfflineFetch(String),
    /// Only locked images may be used, and the lock file does not name this one.
    #[error("cannot use {reference} ({platform}): it is not in {}", path.display())]
    NotLocked {
        /// The reference requested.
        reference: String,
        /// The platform requested.
        platform: String,
        /// The lock file.
        path: PathBuf,
    },
    /// A lock file has no room for an image of this kind.
    #[error("cannot lock {reference}: it has {layers} layers, expected one")]
    NotLockable {
        /// The reference requested.
        reference: String,
        /// The number of its layers.
        layers: usize,
    },
    /// A lock file is malformed.
    #[error("cannot read the lock file {}: {why}", path.display())]
    LockFile {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A layer unpacks to something else than the config says.
    #[error(
        "cannot accept the layer {layer} of {reference}: expected the content {expected} by the config, got {actual}"
    )]
    WrongContent {
        /// The reference requested.
        reference: String,
        /// The digest of the layer.
        layer: String,
        /// The digest of its content by the config.
        expected: String,
        /// The digest of its content.
        actual: String,
    },
    /// The bytes have the right digest, but are not a layer.
    #[error("cannot unpack {what}: {}", with_causes(source.as_ref()))]
    Layer {
        /// The image, file or URL.
        what: String,
        /// Why it cannot be unpacked.
        source: BoxError,
    },
}

impl Error {
    /// An [`Error::Io`], for `map_err`. `action` fits after "cannot".
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// An [`Error::Layer`], for `map_err`.
    pub(crate) fn layer<E: Into<BoxError>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Layer {
            what: what.into(),
            source: source.into(),
        }
    }

    /// Whether no mirror could be reached at all, so that a cached image may serve instead.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { attempts, .. }
            | Self::Registry(box_registry::Error::Unreachable { attempts, .. }) => {
                attempts.is_outage()
            }
            Self::Offline { .. } | Self::OfflineFetch(_) | Self::OtherPlatform { .. } => true,
            _ => false,
        }
    }
}

impl From<box_cache::Error> for Error {
    fn from(error: box_cache::Error) -> Self {
        Self::Cache(error)
    }
}

impl From<box_transfer::Error> for Error {
    fn from(error: box_transfer::Error) -> Self {
        match error {
            box_transfer::Error::Cache(error) => Self::Cache(error),
            // The only receiver of a download's bytes is the unpacking.
            box_transfer::Error::Tap { what, source } => Self::Layer { what, source },
            error => Self::Transfer(error),
        }
    }
}

/// Names in a sentence.
fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
