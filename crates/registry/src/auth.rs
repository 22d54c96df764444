//! Who may enter: a server's challenges are answered, with credentials where they may go, and with tokens that are kept.
//!
//! Every request is sent without credentials first. The answer says how the server wants them, and for what.

mod challenge;
mod method;
mod realm;
mod slot;
mod token;

pub use challenge::Challenge;
pub(crate) use method::Method;
pub use realm::points_inward;
pub(crate) use slot::{Asker, Authorization, Challenged, Slot, Slots};

use crate::Credential;

/// What a request wants of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Nothing of any repository: to be known.
    Login,
    /// To read it.
    Pull,
    /// To read it and to write to it.
    Push,
    /// To write to it what the registry has in another repository already, by the path of that one.
    Mount(String),
}

impl Access {
    /// The scopes of the token specification for a repository, such as `repository:library/nginx:pull`.
    ///
    /// See <https://distribution.github.io/distribution/spec/auth/scope/>.
    fn scopes(&self, path: &str) -> Vec<String> {
        match self {
            Self::Login => Vec::new(),
            Self::Pull => vec![format!("repository:{path}:pull")],
            Self::Push => vec![format!("repository:{path}:pull,push")],
            Self::Mount(from) => vec![
                format!("repository:{path}:pull,push"),
                format!("repository:{from}:pull"),
            ],
        }
    }

    /// Whether it changes the repository.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Push | Self::Mount(_))
    }
}

/// The value of an `Authorization` header for a user and a password (RFC 7617).
fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let both = format!("{user}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(both);
    format!("Basic {encoded}")
}

/// The user of a credential, if it has one.
fn user_of(credential: &Credential) -> Option<&str> {
    match credential {
        Credential::Password { user, .. } => Some(user),
        _ => None,
    }
}
