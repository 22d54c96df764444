//! Failures of a conversation with a registry.

use box_cache::Digest;
use box_transfer::{Attempts, Cause, Printable, Refusal};

/// The result of every fallible verb of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a request to a registry. The message is complete, and free of control characters whatever a server sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transfer failed on this side.
    #[error(transparent)]
    Transfer(#[from] box_transfer::Error),
    /// A file of settings cannot be used.
    #[error("cannot use {file}: {}", Printable::new(.why))]
    Settings {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The user's settings forbid the repository.
    #[error("cannot use {name}: {origin} blocks it")]
    Blocked {
        /// The repository.
        name: String,
        /// The file that says so.
        origin: Printable,
    },
    /// A credential helper does not work.
    #[error("cannot {action} the credentials for {host} with docker-credential-{helper}: {why}")]
    Helper {
        /// What was asked of it, as a verb that fits after "cannot".
        action: &'static str,
        /// The registry.
        host: Printable,
        /// Its name.
        helper: Printable,
        /// What it says, or why it did not run.
        why: Printable,
    },
    /// No endpoint has it, or none can be reached.
    #[error("cannot fetch {what}: {attempts}")]
    Unreachable {
        /// What was asked for, such as `the manifest of docker.io/library/nginx:latest`.
        what: String,
        /// Every try, and how it ended.
        attempts: Attempts,
    },
    /// The registry did not take it.
    #[error("cannot push {what}: {attempts}")]
    Unsent {
        /// What was sent, such as `docker.io/team/app:1`.
        what: String,
        /// Every try, and how it ended.
        attempts: Attempts,
    },
    /// The registry knows no such repository, tag or digest, or hides it.
    #[error("cannot find {what}: not found or private at {host}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The host of the registry.
        host: Printable,
        /// Whether the registry shows other things to everybody, so that credentials may help.
        hidden: bool,
    },
    /// The registry wants credentials, and has got none.
    #[error("cannot access {what}: {host} demands credentials")]
    CredentialsRequired {
        /// What was asked for.
        what: String,
        /// The host of the registry.
        host: Printable,
    },
    /// The registry, or its token server, does not accept the credentials.
    #[error("cannot access {what}: wrong credentials for {host}")]
    WrongCredentials {
        /// What was asked for.
        what: String,
        /// The host of the registry.
        host: Printable,
    },
    /// The registry accepts the credentials, but does not permit this.
    #[error("cannot access {what}: {host} denies it{}", .why.as_ref().map(|w| format!(": {w}")).unwrap_or_default())]
    Denied {
        /// What was asked for.
        what: String,
        /// The host of the registry.
        host: Printable,
        /// The server's explanation.
        why: Option<Printable>,
    },
    /// A manifest or an index cannot be used.
    #[error("cannot use the manifest {digest}: {why}")]
    Document {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        why: Printable,
    },
    /// A manifest is of the format that docker wrote before 2016.
    #[error(
        "cannot use the manifest {digest}: it is of docker's schema 1, which names no config and is not supported any more"
    )]
    Schema1 {
        /// Its digest.
        digest: Digest,
    },
    /// A blob cannot be used.
    #[error("cannot use the blob {what}: {why}")]
    Blob {
        /// The repository and the digest.
        what: String,
        /// What is wrong with it.
        why: Printable,
    },
}

impl Error {
    /// The error for the failure of a request to `host` at `url`.
    pub(crate) fn of_cause(what: String, host: &str, url: &str, cause: Cause) -> Self {
        let host = Printable::new(host);
        match cause {
            Cause::Absent => Self::NotFound {
                what,
                host,
                hidden: false,
            },
            Cause::Refused(Refusal::Hidden) => Self::NotFound {
                what,
                host,
                hidden: true,
            },
            Cause::Refused(Refusal::Anonymous) => Self::CredentialsRequired { what, host },
            Cause::Refused(Refusal::Credentials) => Self::WrongCredentials { what, host },
            Cause::Refused(Refusal::Denied(why)) => Self::Denied { what, host, why },
            cause => {
                let mut attempts = Attempts::default();
                attempts.push(url.to_owned(), cause);
                Self::Unreachable { what, attempts }
            }
        }
    }
}
