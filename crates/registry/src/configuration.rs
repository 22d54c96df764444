//! What the user's settings say about registries: which places serve a repository, and how they are spoken to.
//!
//! Two sources are combined. `registries.conf` of containers-registries.conf(5), where there is one, decides which mirrors and which
//! location serve a repository that one of its entries covers; box's own settings decide it for the others. What concerns a host and
//! its connection (`insecure`, certificates) holds wherever it is written, and so does `blocked`.

mod certificates;
mod entry;
mod host;
mod own;
mod registries_conf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use box_transfer::Printable;

pub use host::canonical_host;
pub(crate) use host::{contacted, is_loopback};
pub use own::RegistrySettings;

use crate::endpoint::{Answers, Endpoint, Security};
use crate::error::{Error, Result};
use crate::name::RepositoryName;
use entry::Entry;
use host::Place;

/// The settings of registries. The default knows none: every registry is asked itself, by HTTPS unless it is on this machine.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The entries of `registries.conf` and of the files beside it, each prefix once.
    shared: Vec<Entry>,
    /// Those of box's own settings.
    own: Vec<Entry>,
    aliases: BTreeMap<String, String>,
    certificates: certificates::Certificates,
}

/// The places that serve one repository.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where to read, in this order: mirrors, then the registry itself. Never empty.
    pub reads: Vec<Endpoint>,
    /// Where to write: the registry itself.
    pub registry: Endpoint,
}

impl Configuration {
    /// Takes box's own settings, which the file `origin` gives: for each host, or host and namespace, what holds there.
    pub fn set_own(
        &mut self,
        origin: &Path,
        settings: &BTreeMap<String, RegistrySettings>,
    ) -> Result<()> {
        let origin = origin.display().to_string();
        self.own.clear();
        for (prefix, settings) in settings {
            self.own.push(settings.entry(&origin, prefix)?);
            self.certificates.add(prefix, settings);
        }
        Ok(())
    }

    /// Takes the text of `registries.conf`, or of a file of `registries.conf.d`. An entry or an alias of a later file replaces that of
    /// an earlier one for the same prefix or name.
    pub fn add_registries_conf(&mut self, path: &Path, text: &str) -> Result<()> {
        let origin = path.display().to_string();
        let document = registries_conf::parse(&origin, text)?;
        for entry in document.entries {
            self.shared.retain(|other| other.prefix != entry.prefix);
            self.shared.push(entry);
        }
        for (short, name) in document.aliases {
            match name {
                Some(name) => self.aliases.insert(short, name),
                None => self.aliases.remove(&short),
            };
        }
        Ok(())
    }

    /// Where certificates of hosts are, in directories that are named like them. The first directory that exists is used for a host.
    pub fn set_certificate_directories(&mut self, directories: Vec<PathBuf>) {
        self.certificates.directories = directories;
    }

    /// The places that serve a repository. Reads the certificates of their hosts.
    ///
    /// # Errors
    /// The repository is blocked, or a certificate cannot be read.
    pub fn places(&self, name: &RepositoryName) -> Result<Places> {
        let shared = longest(&self.shared, name);
        let own = longest(&self.own, name);
        for entry in [shared, own].into_iter().flatten() {
            if entry.blocked {
                return Err(Error::Blocked {
                    name: name.to_string(),
                    origin: Printable::new(&entry.origin),
                });
            }
        }
        if let Some(entry) = self.shared.iter().find(|entry| entry.is_for_one_of(name)) {
            return Err(Error::Settings {
                file: entry.origin.clone(),
                why: format!(
                    "the entry {} is for a single tag or digest, which box does not support",
                    Printable::new(&entry.prefix)
                ),
            });
        }
        let Some(entry) = shared.or(own) else {
            let registry = self.endpoint(Place::of(name), false, Answers::All)?;
            return Ok(Places {
                reads: vec![registry.clone()],
                registry,
            });
        };
        let registry = self.endpoint(entry.location(name), entry.insecure, Answers::All)?;
        let mirrors = entry.mirrors.iter().map(|mirror| {
            let place = entry.below(&mirror.location, name);
            self.endpoint(place, mirror.insecure, mirror.answers)
        });
        let mut reads = mirrors.collect::<Result<Vec<_>>>()?;
        reads.push(registry.clone());
        Ok(Places { reads, registry })
    }

    /// The name with a host that a short name stands for.
    pub fn alias(&self, short: &str) -> Option<&str> {
        self.aliases.get(short).map(String::as_str)
    }

    fn endpoint(&self, place: Place, insecure: bool, answers: Answers) -> Result<Endpoint> {
        let name = RepositoryName::new(&place.host, &place.path);
        let is_insecure = |entries| longest(entries, &name).is_some_and(|entry| entry.insecure);
        let host = contacted(&place.host);
        let security = match insecure || is_insecure(&self.own) || is_insecure(&self.shared) {
            true => Security::Insecure,
            false if is_loopback(host) => Security::Loopback,
            false => Security::Verified,
        };
        let found = self.certificates.of(&name, host)?;
        Ok(Endpoint {
            host: host.to_owned(),
            path: place.path,
            security,
            ca_certs: found.ca_certs,
            identity: found.identity,
            answers,
        })
    }
}

/// The entry with the longest match. A host that is spelled out is better than a wildcard that covers it.
fn longest<'a>(entries: &'a [Entry], name: &RepositoryName) -> Option<&'a Entry> {
    let matching = entries.iter().filter_map(|entry| {
        let length = entry.matched(name)?;
        Some((length, !entry.is_wildcard(), entry.prefix.len(), entry))
    });
    let best = matching.max_by_key(|(length, exact, prefix, _)| (*length, *exact, *prefix));
    best.map(|(.., entry)| entry)
}

#[cfg(test)]
mod tests;
