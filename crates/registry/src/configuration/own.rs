//! box's own settings of registries.

use std::path::PathBuf;

use serde::Deserialize;

use super::entry::{Entry, Mirror, check_prefix};
use super::host::Place;
use crate::endpoint::Answers;
use crate::error::{Error, Result};

/// `[registry."host"]` of `config.toml`, for a host or for a namespace below it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RegistrySettings {
    /// Do not check certificates, and allow HTTP.
    pub insecure: bool,
    /// Neither fetch from there nor send anything there.
    pub blocked: bool,
    /// `host[:port][/path]` to contact instead.
    pub location: Option<String>,
    /// Other places to read from, tried before the registry itself: `host[:port][/path]`.
    pub mirrors: Vec<String>,
    /// PEM files with certificate authorities of the host.
    pub ca_certs: Vec<PathBuf>,
    /// A PEM file with the certificate by which the host knows the client.
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate.
    pub client_key: Option<PathBuf>,
}

impl RegistrySettings {
    pub(super) fn entry(&self, origin: &str, prefix: &str) -> Result<Entry> {
        let checked = || -> Result<Entry, String> {
            check_prefix(prefix)?;
            if self.client_cert.is_some() != self.client_key.is_some() {
                return Err("client-cert and client-key need one another".to_owned());
            }
            let location = self.location.as_deref().map(Place::parse).transpose()?;
            let mirrors = self.mirrors.iter().map(|mirror| {
                Ok(Mirror {
                    location: Place::parse(mirror)?,
                    insecure: false,
                    answers: Answers::All,
                })
            });
            Ok(Entry {
                prefix: prefix.to_owned(),
                location,
                insecure: self.insecure,
                blocked: self.blocked,
                mirrors: mirrors.collect::<Result<_, String>>()?,
                origin: origin.to_owned(),
            })
        };
        checked().map_err(|why| Error::Settings {
            file: origin.to_owned(),
            why: format!("[registry.{prefix:?}]: {why}"),
        })
    }
}
