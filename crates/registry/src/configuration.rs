//! What the user's settings say about registries: which places serve a repository, and how they are spoken to.

mod host;

pub(crate) use host::{contacted, is_loopback};

use crate::endpoint::{Answers, Endpoint, Security};
use crate::{RepositoryName, Result};

/// The settings of registries. The default knows none: every registry is asked itself, by HTTPS unless it is on this machine.
#[derive(Clone, Debug, Default)]
pub struct Configuration {}

/// The places that serve one repository.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where to read, in this order: mirrors, then the registry itself. Never empty.
    pub reads: Vec<Endpoint>,
    /// Where to write: the registry itself.
    pub registry: Endpoint,
}

impl Configuration {
    /// The places that serve a repository.
    pub fn places(&self, name: &RepositoryName) -> Result<Places> {
        let host = contacted(name.host());
        let security = match is_loopback(host) {
            true => Security::Loopback,
            false => Security::Verified,
        };
        let registry = Endpoint {
            host: host.to_owned(),
            path: name.path().to_owned(),
            security,
            ca_certs: Vec::new(),
            identity: None,
            answers: Answers::All,
        };
        Ok(Places {
            reads: vec![registry.clone()],
            registry,
        })
    }

    /// The name with a host that a short name stands for.
    pub fn alias(&self, _short: &str) -> Option<&str> {
        None
    }
}
