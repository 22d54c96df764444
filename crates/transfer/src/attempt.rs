//! How tries at a URL or a file ended.

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use box_cache::{Digest, Reason};

use crate::client::Response;
use crate::printable::Printable;
use crate::retry::retry_after;

/// Every try to get one thing, in order.
#[derive(Debug, Default)]
pub struct Attempts(pub Vec<Attempt>);

/// One try, or several in a row that ended the same way.
#[derive(Debug)]
pub struct Attempt {
    /// The URL or file.
    pub url: String,
    /// How the try ended.
    pub cause: Cause,
    /// How many tries ended like that.
    pub times: u32,
}

impl Attempts {
    /// Adds one more try.
    pub fn push(&mut self, url: String, cause: Cause) {
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

    /// Whether any location answered that it has no such file.
    pub fn has_absent(&self) -> bool {
        self.0.iter().any(|a| a.cause.is_absent())
    }

    /// Whether every location answered that it has no such file.
    pub fn is_absent(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|a| a.cause.is_absent())
    }

    /// Whether no location could be reached at all.
    pub fn is_outage(&self) -> bool {
        self.0.iter().all(|a| a.cause.is_outage())
    }
}

impl fmt::Display for Attempts {
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
    /// The server, or the local file system, has no such file.
    #[error("not found")]
    Absent,
    /// The server answered with another unexpected status.
    #[error("the server answered {status}{}{}", .reason.map(|r| format!(" {r}")).unwrap_or_default(), .said.as_ref().map(|s| format!(": {s}")).unwrap_or_default())]
    Status {
        /// HTTP status code.
        status: u16,
        /// The name of the status.
        reason: Option<&'static str>,
        /// What the server says about it.
        said: Option<Printable>,
        /// The pause that the server asked for.
        retry_after: Option<Duration>,
    },
    /// The server does not serve this client.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection was refused or could not be made.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection was not made in time.
    #[error("no connection within {} s", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    /// The connection stands, and no bytes arrive.
    #[error("received nothing for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The connection stands, and the other side accepts no bytes.
    #[error("the server accepted nothing for {} s", .0.as_secs_f32())]
    Unaccepted(Duration),
    /// The TLS handshake or the check of the certificate failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The file ended too early.
    #[error("truncated: got {actual} of {expected} bytes")]
    Truncated {
        /// Bytes expected.
        expected: u64,
        /// Bytes received.
        actual: u64,
    },
    /// The size announced is not the size expected.
    #[error("wrong size: expected {expected} bytes, the server has {actual}{}", if *.html { " (an HTML page)" } else { "" })]
    Size {
        /// Size in bytes that the caller expects.
        expected: u64,
        /// Size in bytes by the server or the file system.
        actual: u64,
        /// Whether the server labels it a web page.
        html: bool,
    },
    /// More bytes arrive than were announced or are accepted.
    #[error("too long: more than {limit} bytes")]
    TooLong {
        /// The largest size accepted.
        limit: u64,
    },
    /// All bytes arrived, and do not match their digest.
    #[error("wrong content: expected {expected}, got {actual}")]
    Digest {
        /// The digest expected.
        expected: String,
        /// The digest of the bytes received.
        actual: String,
    },
    /// A document cannot be read.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which document: `release list`, `checksum file`, ...
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The chain of redirections is too long.
    #[error("more than {0} redirections")]
    Redirects(usize),
    /// A redirection would give up encryption.
    #[error("refusing a redirection from https to {0}")]
    Downgrade(String),
    /// A redirection has no usable address.
    #[error("redirected to an invalid address: {0}")]
    Redirect(Printable),
    /// The server does not have the bytes from this offset on.
    #[error("the server cannot continue at byte {0}")]
    Range(u64),
    /// The answer breaks the protocol.
    #[error("invalid answer: {0}")]
    Protocol(String),
    /// A local file or stream cannot be read.
    #[error("{}", Reason(.0))]
    File(io::Error),
}

/// Why a server does not serve a client (RFC 9110, sections 15.5.2 and 15.5.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It wants to know who asks, and no credentials for it are known.
    #[error("it demands credentials")]
    Anonymous,
    /// It serves something to everybody, and not this.
    #[error("not found or private")]
    Hidden,
    /// It does not accept the credentials.
    #[error("wrong credentials")]
    Credentials,
    /// It does not permit this to whoever asks.
    #[error("access denied{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Denied(Option<Printable>),
}

impl Cause {
    /// The failure that a status stands for, whatever the body says.
    pub fn of_status(response: &Response) -> Self {
        let status = response.status();
        if matches!(status.as_u16(), 404 | 410) {
            return Self::Absent;
        }
        let asked = response.header(reqwest::header::RETRY_AFTER);
        Self::Status {
            status: status.as_u16(),
            reason: status.canonical_reason(),
            said: None,
            retry_after: asked.and_then(|v| retry_after(v, SystemTime::now())),
        }
    }

    /// The failure of bytes that do not have their digest.
    pub fn digest(expected: &Digest, actual: &Digest) -> Self {
        Self::Digest {
            expected: expected.to_string(),
            actual: actual.to_string(),
        }
    }

    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::ConnectTimeout(_) | Self::Stalled(_) | Self::Unaccepted(_) | Self::Broken(_) => {
                true
            }
            Self::Truncated { .. } | Self::Range(_) => true,
            _ => false,
        }
    }

    /// Whether the server is out of reach or out of order, as opposed to serving something wrong.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Tls(_) | Self::File(_) => true,
            Self::Absent | Self::Truncated { .. } | Self::Range(_) => false,
            other => other.is_transient(),
        }
    }

    /// The pause that the server asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
