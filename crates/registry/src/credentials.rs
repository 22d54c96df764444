//! Who the user is to a registry.

use std::fmt;

use crate::{RepositoryName, Result};

/// What proves to a registry, or to its token server, who the user is. Debug output shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password, or an access token that is used like one.
    Password {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token, which the token server exchanges for tokens of registries.
    IdentityToken(String),
    /// A token that the registry itself takes.
    RegistryToken(String),
}

/// Where the credentials of registries are. They are looked up when they are needed.
#[derive(Debug, Default)]
pub struct CredentialStore {}

impl CredentialStore {
    /// The credentials for reading a repository: those of the longest matching namespace. `None` for anonymous access.
    pub fn find(&self, _name: &RepositoryName) -> Result<Option<Credential>> {
        Ok(None)
    }

    /// The credentials for writing to a repository. Unlike [`Self::find`], a credential helper that does not work is an error.
    pub fn find_for_push(&self, name: &RepositoryName) -> Result<Option<Credential>> {
        self.find(name)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}
