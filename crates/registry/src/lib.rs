//! The [OCI distribution protocol](https://github.com/opencontainers/distribution-spec/blob/main/spec.md), as a blocking client.
//!
//! This crate knows registries: where a repository is served, who may enter, and how documents and blobs are asked for and sent. It
//! knows neither Alpine nor tar archives, and reads nothing of the environment: the caller says which files there are.
//!
//! - A [`RepositoryName`] is the host and the path that a reference stands for; an [`Endpoint`] is one place that serves it.
//! - A [`Configuration`] is what the user's settings say about registries; a [`CredentialStore`] knows who the user is to them.

mod configuration;
mod credentials;
mod endpoint;
mod error;
mod name;

pub use configuration::{Configuration, Places, RegistrySettings};
pub use credentials::{Credential, CredentialFile, CredentialStore, Saved};
pub use endpoint::{Answers, Endpoint, Security};
pub use error::{Error, Result};
pub use name::RepositoryName;
