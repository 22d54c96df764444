//! The [OCI distribution protocol](https://github.com/opencontainers/distribution-spec/blob/main/spec.md), as a blocking client.
//!
//! This crate knows registries: where a repository is served, who may enter, and how documents and blobs are asked for and sent. It
//! knows neither Alpine nor tar archives, and reads nothing of the environment: the caller says which files there are.
//!
//! - A [`RepositoryName`] is the host and the path that a reference stands for; an [`Endpoint`] is one place that serves it.
//! - A [`Configuration`] is what the user's settings say about registries; a [`CredentialStore`] knows who the user is to them.
//! - A [`Registry`] is a session: it authenticates, and keeps connections and tokens. A [`Repository`] of it is read: a [`Document`] is
//!   one manifest or index, byte for byte.

mod auth;
mod complaint;
mod configuration;
mod credentials;
mod document;
mod endpoint;
mod error;
mod name;
mod repository;
mod session;
mod upload;

pub use auth::{Challenge, points_inward};
pub use configuration::{Configuration, Places, RegistrySettings, canonical_host};
pub use credentials::{Credential, CredentialFile, CredentialStore, Saved};
pub use document::{Document, Parsed, artifact_type};
pub use endpoint::{Answers, Endpoint, Security};
pub use error::{Error, Result};
pub use name::RepositoryName;
pub use repository::{Repository, Wanted};
pub use session::{Options, Registry};
pub use upload::{Arrival, BlobFile, Pushed, Shipment};
