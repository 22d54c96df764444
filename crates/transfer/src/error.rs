//! Failures that end a transfer, whatever the server does.

use std::io;
use std::path::{Path, PathBuf};

use box_cache::{Reason, is_full};

use crate::BoxError;
use crate::printable::Printable;

/// The result of every fallible verb of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure on this side: of the cache, of the configuration, or of the receiver of the bytes. The message is complete,
/// and free of control characters whatever a server sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] box_cache::Error),
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
    /// A text is not a URL of a supported kind.
    #[error("invalid URL {url}: {why}")]
    Url {
        /// The text as given.
        url: Printable,
        /// Which rule it breaks.
        why: String,
    },
    /// A certificate file is not usable.
    #[error("cannot use the certificates in {name}: {why}")]
    Certificate {
        /// The file.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A proxy setting is not usable.
    #[error("cannot use the proxy {proxy}: {why}")]
    Proxy {
        /// The setting, without credentials.
        proxy: Printable,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS client is not usable.
    #[error("cannot set up TLS: {why}")]
    Tls {
        /// Why not.
        why: String,
    },
    /// A blob is larger than the caller accepts.
    #[error("cannot download {what}: it is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The URL or file.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The receiver of the bytes failed, so that there is no use in more of them.
    #[error("cannot process {what}: {}", with_causes(source.as_ref()))]
    Tap {
        /// The name of the blob.
        what: String,
        /// The receiver's error.
        source: BoxError,
    },
}

impl Error {
    /// An [`Error::Io`], for `map_err`. `action` fits after "cannot".
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// Whether a file system has no room left (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        match self {
            Self::Cache(error) => error.is_full(),
            Self::Io { source, .. } => is_full(source),
            Self::Tap { source, .. } => {
                let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
                while let Some(error) = next {
                    if error.downcast_ref::<io::Error>().is_some_and(is_full) {
                        return true;
                    }
                    next = error.source();
                }
                false
            }
            _ => false,
        }
    }
}

/// An error and its causes on one line, for error types whose messages leave their causes out.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    Printable::new(&text).to_string()
}
