//! Everything that can go wrong between a reference and an image in the cache.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use box_cache::{Digest, words};

use crate::BoxError;
use crate::foreign::Foreign;

/// The result of every fallible verb of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a pull, an import or a look at what mirrors offer. The message is complete, and free of control
/// characters whatever a server sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cache refused or failed.
    #[error(transparent)]
    Cache(#[from] box_cache::Error),
    /// A system call on a file of ours failed.
    #[error("cannot {action} {}: {}", path.display(), words(source))]
    Io {
        /// What was tried, as a verb that fits after "cannot".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A text is no URL of a kind that can be fetched.
    #[error("invalid URL {url}: {why}")]
    Url {
        /// The text as given.
        url: Foreign,
        /// Which rule it breaks.
        why: String,
    },
    /// There is no source for images of this name.
    #[error("no source is known for `{name}`: only alpine images can be pulled, others imported")]
    UnknownName {
        /// The name in the reference.
        name: Foreign,
    },
    /// The tag cannot be one of the source's.
    #[error(
        "{reference}: `{tag}` is no Alpine tag, expected latest, edge, a branch (3.20), a release (3.20.3) or the date \
         of an edge snapshot (20240807)"
    )]
    UnknownTag {
        /// The reference asked for.
        reference: String,
        /// Its tag.
        tag: Foreign,
    },
    /// Alpine does not build for this platform.
    #[error("{reference}: there is no Alpine for {platform}")]
    UnknownPlatform {
        /// The reference asked for.
        reference: String,
        /// The platform asked for.
        platform: String,
    },
    /// The mirrors answer, and have no such branch, architecture or version.
    #[error("{reference} ({arch}) does not exist: {missing}; {known} [tried: {tried}]")]
    NotFound {
        /// The reference asked for.
        reference: String,
        /// Alpine's name of the architecture asked for.
        arch: &'static str,
        /// Which part of it is missing: `no branch v3.99`, `no version 3.20.9`, ...
        missing: String,
        /// What exists in its place.
        known: Box<Known>,
        /// Where it was looked for.
        tried: Tried,
    },
    /// Nothing could be had from any mirror.
    #[error("cannot fetch {what}: {tried}")]
    Unreachable {
        /// Path below the mirrors, or the URL.
        what: String,
        /// What was tried, and how each try ended.
        tried: Tried,
    },
    /// The reference demands a digest that its release does not have.
    #[error("{reference} demands {expected}, but {found}")]
    WrongDigest {
        /// The reference without its digest.
        reference: String,
        /// The digest demanded.
        expected: String,
        /// What there is instead.
        found: String,
    },
    /// There is a signature, and it does not hold.
    #[error("bad signature {url}: {why}")]
    BadSignature {
        /// Where the signature came from.
        url: String,
        /// Why it does not hold.
        why: String,
    },
    /// What is in the cache is for other platforms alone, and nobody may be asked for this one.
    #[error(
        "{reference} is in the cache for {}, and not for {wanted}; it cannot be fetched offline",
        list(platforms)
    )]
    OtherPlatform {
        /// The reference asked for.
        reference: String,
        /// The platform asked for.
        wanted: String,
        /// The platforms that are there.
        platforms: Vec<String>,
    },
    /// A signature is required, and what is in the cache has none by a key that is trusted.
    #[error("{0} is in the cache, but no trusted publisher's signature vouches for it")]
    Unvouched(String),
    /// A signature is required and no mirror has one.
    #[error("{what} is not signed (yet): {tried}")]
    NotSigned {
        /// The file that should be signed.
        what: String,
        /// Where a signature was looked for.
        tried: Tried,
    },
    /// A file of trusted keys cannot be used.
    #[error("{name} holds no usable OpenPGP key: {why}")]
    Key {
        /// The file.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate file cannot be used.
    #[error("{name} holds no usable certificate: {why}")]
    Certificate {
        /// The file.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A proxy setting cannot be used.
    #[error("the proxy {proxy} cannot be used: {why}")]
    Proxy {
        /// The setting, without credentials.
        proxy: Foreign,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up TLS: {why}")]
    Tls {
        /// Why not.
        why: String,
    },
    /// A socket would be needed and none may be opened.
    #[error(
        "{reference} is not in the cache and cannot be fetched offline; cached: {}",
        list(cached)
    )]
    Offline {
        /// The reference asked for.
        reference: String,
        /// The references that are there.
        cached: Vec<String>,
    },
    /// There is a lock file, it must be kept to, and it does not name this image.
    #[error("{reference} ({platform}) is not in {}", path.display())]
    NotLocked {
        /// The reference asked for.
        reference: String,
        /// The platform asked for.
        platform: String,
        /// The lock file.
        path: PathBuf,
    },
    /// A lock file cannot be read.
    #[error("malformed lock file {}: {why}", path.display())]
    LockFile {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes are what they should be, and yet no layer.
    #[error("cannot unpack {what}: {}", with_causes(source.as_ref()))]
    Layer {
        /// The file or URL.
        what: String,
        /// What the unpacking said.
        source: BoxError,
    },
    /// Whatever was to be imported is larger than is accepted.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The file or URL.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Imported bytes do not match the digest that was demanded.
    #[error("{what} does not match: expected {expected}, got {actual}")]
    Mismatch {
        /// The file or URL.
        what: String,
        /// The digest demanded.
        expected: String,
        /// The digest found.
        actual: String,
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

    /// Whether a file system has no room left (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        let full = |e: &io::Error| {
            matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            Self::Cache(error) => error.is_full(),
            Self::Io { source, .. } => full(source),
            Self::Layer { source, .. } => {
                let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
                while let Some(error) = next {
                    if error.downcast_ref::<io::Error>().is_some_and(full) {
                        return true;
                    }
                    next = error.source();
                }
                false
            }
            _ => false,
        }
    }

    /// Whether no mirror could be reached at all, so that what is cached may serve in its place.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { tried, .. } => {
                tried.0.iter().all(|attempt| attempt.cause.is_outage())
            }
            Self::Offline { .. } | Self::OtherPlatform { .. } => true,
            _ => false,
        }
    }
}

/// Every try to get one thing, in order.
#[derive(Debug, Default)]
pub struct Tried(pub Vec<Attempt>);

/// One try, or several in a row that ended the same way.
#[derive(Debug)]
pub struct Attempt {
    /// What was asked for.
    pub url: String,
    /// How it ended.
    pub cause: Cause,
    /// How often.
    pub times: u32,
}

impl Tried {
    /// Notes one more try.
    pub(crate) fn push(&mut self, url: String, cause: Cause) {
        match self.0.last_mut() {
            Some(last) if last.url == url && last.cause.to_string() == cause.to_string() => {
                last.times += 1;
            }
            _ => self.0.push(Attempt {
                url,
                cause,
                times: 1,
            }),
        }
    }

    /// Whether anybody says that there is no such file.
    pub(crate) fn has_absent(&self) -> bool {
        self.0.iter().any(|a| a.cause.is_absent())
    }

    /// Whether every one says that there is no such file.
    pub(crate) fn is_absent(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|a| a.cause.is_absent())
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, attempt) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", attempt.url, attempt.cause)?;
            if attempt.times > 1 {
                write!(f, " ({} times)", attempt.times)?;
            }
        }
        Ok(())
    }
}

/// How a try at one URL or file ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The server, or the file system of a local mirror, has no such file.
    #[error("not found")]
    Absent,
    /// Any other status than the one hoped for.
    #[error("the server answered {status}{}", .reason.map(|r| format!(" {r}")).unwrap_or_default())]
    Status {
        /// HTTP status code.
        status: u16,
        /// Its name.
        reason: Option<&'static str>,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection in time.
    #[error("no connection within {} s", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    /// A connection, and then nothing.
    #[error("nothing came for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The other side is not who it should be, or speaks no TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The end came too early.
    #[error("truncated: got {actual} of {expected} bytes")]
    Truncated {
        /// Bytes that should have come.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// The size announced is not the size expected.
    #[error("wrong size: expected {expected} bytes, the server has {actual}{}", if *.html { " (an HTML page)" } else { "" })]
    Size {
        /// Size in bytes by the release list.
        expected: u64,
        /// Size in bytes by the server or the file system.
        actual: u64,
        /// Whether the server says that it sends a web page.
        html: bool,
    },
    /// More bytes come than were announced or are accepted.
    #[error("too long: more than {limit} bytes")]
    TooLong {
        /// The size that should not be exceeded.
        limit: u64,
    },
    /// All bytes came, and are not the right ones.
    #[error("wrong content: expected {expected}, got {actual}")]
    Digest {
        /// The digest expected.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// A list or a sidecar file is not what it should be.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which document: `release list`, `checksum file`, ...
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// One redirection after the other.
    #[error("more than {0} redirections")]
    Redirects(usize),
    /// A redirection that gives up encryption.
    #[error("refusing to be redirected from https to {0}")]
    Downgrade(String),
    /// A redirection to nowhere.
    #[error("redirected to an invalid address: {0}")]
    Redirect(Foreign),
    /// The server does not have the bytes from here on.
    #[error("the server cannot continue at byte {0}")]
    Range(u64),
    /// The answer breaks the protocol.
    #[error("the answer makes no sense: {0}")]
    Protocol(String),
    /// A local mirror cannot be read.
    #[error("{}", words(.0))]
    File(io::Error),
}

impl Cause {
    pub(crate) fn digest(expected: &Digest, actual: &Digest) -> Self {
        Self::Digest {
            expected: expected.to_string(),
            actual: actual.to_string(),
        }
    }

    /// Whether the file simply is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::ConnectTimeout(_) | Self::Stalled(_) | Self::Broken(_) => true,
            Self::Truncated { .. } | Self::Range(_) => true,
            _ => false,
        }
    }

    /// Whether the mirror is out of reach or out of order, rather than serving something wrong.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Tls(_) | Self::File(_) => true,
            Self::Absent | Self::Truncated { .. } | Self::Range(_) => false,
            other => other.is_transient(),
        }
    }

    /// The pause that the server asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What a mirror offers in the place of what it does not have.
#[derive(Debug)]
pub enum Known {
    /// These names exist.
    Listed {
        /// Of what kind: `branches`, `versions of v3.20`, ...
        what: String,
        /// The names, oldest first.
        names: Vec<String>,
    },
    /// The mirror lists nothing, and only this is known.
    Only(String),
    /// Nothing is known.
    Nothing,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed { what, names } => write!(f, "{what}: {}", list(names)),
            Self::Only(text) => f.write_str(text),
            Self::Nothing => f.write_str("the mirror does not list what it has"),
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// An error with its causes on one line, as somebody else's error types leave them out of their messages.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    Foreign::new(&text).to_string()
}
