//! What holds for all repositories whose names begin alike.

use super::host::{Place, canonical_host, check_host, check_scheme};
use crate::RepositoryName;
use crate::endpoint::Answers;

/// What holds for the repositories below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `host`, `host/namespace`, `*.domain`, or a single image with its tag or digest.
    pub prefix: String,
    /// What takes the place of the prefix; `None` if the name says where the repository is.
    pub location: Option<Place>,
    /// Whether certificates are not checked, and HTTP is allowed.
    pub insecure: bool,
    /// Whether nothing may be fetched from there or sent there.
    pub blocked: bool,
    /// In the order in which they are tried.
    pub mirrors: Vec<Mirror>,
    /// The file that says so.
    pub origin: String,
}

/// Another place that has the repositories below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    /// What takes the place of the prefix.
    pub location: Place,
    /// As for an entry.
    pub insecure: bool,
    /// Which requests it may answer.
    pub answers: Answers,
}

impl Entry {
    /// The length of the part of a name that the prefix covers; `None` if it does not cover the name.
    pub fn matched(&self, name: &RepositoryName) -> Option<usize> {
        let (host, path) = split(&self.prefix);
        let own = canonical_host(name.host());
        let covered = match host.strip_prefix('*') {
            // A wildcard stands for one label at least.
            Some(domain) => {
                let rest = own.strip_suffix(domain.to_ascii_lowercase().as_str());
                rest.is_some_and(|rest| !rest.is_empty())
            }
            None => own == canonical_host(host),
        };
        if !covered {
            return None;
        }
        let below = name.path().strip_prefix(path)?;
        let ends = path.is_empty() || below.is_empty() || below.starts_with('/');
        ends.then(|| name.host().len() + path.len())
    }

    /// Whether the host is a wildcard.
    pub fn is_wildcard(&self) -> bool {
        self.prefix.starts_with('*')
    }

    /// Whether the prefix is one tag or one digest of this repository.
    pub fn is_for_one_of(&self, name: &RepositoryName) -> bool {
        let (host, path) = split(&self.prefix);
        let rest = path.strip_prefix(name.path());
        let same = canonical_host(name.host()) == canonical_host(host);
        same && rest.is_some_and(|rest| rest.starts_with([':', '@']))
    }

    /// Where the registry itself has a repository.
    pub fn location(&self, name: &RepositoryName) -> Place {
        match &self.location {
            Some(location) => self.below(location, name),
            None => Place::of(name),
        }
    }

    /// The place of a repository when another place takes that of the prefix.
    pub fn below(&self, place: &Place, name: &RepositoryName) -> Place {
        let (_, covered) = split(&self.prefix);
        let rest = name.path().strip_prefix(covered).unwrap_or(name.path());
        let rest = rest.trim_start_matches('/');
        let path = match (place.path.as_str(), rest) {
            ("", rest) => rest.to_owned(),
            (path, "") => path.to_owned(),
            (path, rest) => format!("{path}/{rest}"),
        };
        Place {
            host: place.host.clone(),
            path,
        }
    }
}

/// Refuses a prefix that no name can begin with.
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    check_scheme(prefix)?;
    let (host, path) = split(prefix);
    match host.strip_prefix("*.") {
        Some(domain) => check_host(domain)?,
        None if host.contains('*') => {
            return Err(format!(
                "{prefix:?} may have a wildcard only as *. at its start"
            ));
        }
        None => check_host(host)?,
    }
    let allowed = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@' | b'+')
    };
    match path.bytes().all(allowed) {
        true => Ok(()),
        false => Err(format!("{prefix:?} is not the beginning of a name")),
    }
}

fn split(prefix: &str) -> (&str, &str) {
    prefix.split_once('/').unwrap_or((prefix, ""))
}
