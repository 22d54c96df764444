//! Which repository of which registry a reference stands for.

use std::fmt;

use box_cache::Reference;

/// A repository: the host of its registry and its path there, such as `docker.io` and `library/nginx`.
///
/// The host is the one of names, not the one that is contacted: see [`crate::Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName {
    host: String,
    path: String,
}

impl RepositoryName {
    /// The repository that a reference stands for; `None` for the short name of Alpine's own releases, which are in no registry.
    pub fn of(reference: &Reference) -> Option<Self> {
        if reference.is_own() {
            return None;
        }
        let full = reference.in_full();
        let name = full.split('@').next().unwrap_or_default();
        let (host, path) = name.split_once('/')?;
        let path = match path.rfind(':') {
            Some(colon) => &path[..colon],
            None => path,
        };
        Some(Self {
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    /// A repository by the two parts of its name, which somebody else has checked.
    pub(crate) fn new(host: &str, path: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
        }
    }

    /// The host with its port, if it has one: `docker.io`, `localhost:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_reference_but_alpines_has_a_repository() {
        for (text, name) in [
            ("nginx", "docker.io/library/nginx"),
            ("team/app:1", "docker.io/team/app"),
            ("docker.io/library/alpine:3", "docker.io/library/alpine"),
            ("localhost:5000/a/b:tag", "localhost:5000/a/b"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("ghcr.io/org/app", "ghcr.io/org/app"),
        ] {
            for suffix in [
                "",
                "@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ] {
                let reference = format!("{text}{suffix}").parse().unwrap();
                assert_eq!(RepositoryName::of(&reference).unwrap().to_string(), name);
            }
        }
        assert_eq!(RepositoryName::of(&"alpine:3.20".parse().unwrap()), None);
    }
}
