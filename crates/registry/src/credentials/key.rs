//! The keys of files of credentials: a host, or a host and a namespace, in several spellings.

use crate::RepositoryName;

/// How docker's own files spell the key of its registry.
const DOCKER_INDEX: &str = "https://index.docker.io/v1/";

/// A host, or a namespace or repository there, in the spelling of names: `docker.io`, `ghcr.io/org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// The key of a repository.
    pub fn of(name: &RepositoryName) -> Self {
        Self(normal(&name.to_string()))
    }

    /// Reads a key as a file or a user writes it. Docker's files have URLs of versions 1 and 2 of the protocol.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text)
            .trim_end_matches('/');
        let rest = match rest.split_once('/') {
            Some((host, "v1" | "v2")) => host,
            _ => rest,
        };
        Self(normal(rest))
    }

    /// This key and those of the namespaces around it, the longest first; the host is the last.
    pub fn and_above(&self) -> Vec<Self> {
        let mut keys = vec![self.clone()];
        let mut rest = self.0.as_str();
        while let Some((above, _)) = rest.rsplit_once('/') {
            keys.push(Self(above.to_owned()));
            rest = above;
        }
        keys
    }

    /// Whether it is a whole host.
    pub fn is_host(&self) -> bool {
        !self.0.contains('/')
    }

    /// Its spelling in the files of containers' tools.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its spelling in docker's files, and for the programs that docker asks.
    pub fn docker(&self) -> &str {
        match self.0.as_str() {
            "docker.io" => DOCKER_INDEX,
            other => other,
        }
    }

    /// All spellings that a program may know it by.
    pub fn spellings(&self) -> Vec<String> {
        let mut all = vec![self.docker().to_owned()];
        if self.docker() != self.0 {
            all.push(self.0.clone());
        }
        all
    }
}

/// The host of names for hosts that are contacted.
fn normal(text: &str) -> String {
    let (host, rest) = match text.find('/') {
        Some(slash) => text.split_at(slash),
        None => (text, ""),
    };
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("docker.io{rest}"),
        host => format!("{host}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_has_many_spellings() {
        for (text, key) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("docker.io/team", "docker.io/team"),
            ("https://reg.example:5000", "reg.example:5000"),
            ("http://reg.example/v2/", "reg.example"),
            ("reg.example/v1", "reg.example"),
            ("reg.example/v1/app", "reg.example/v1/app"),
            ("reg.example/team/", "reg.example/team"),
        ] {
            assert_eq!(Key::parse(text).as_str(), key, "{text}");
        }
    }

    #[test]
    fn namespaces_go_from_the_longest_to_the_host() {
        let name = RepositoryName::of(&"a.example:5000/b/c/d:1".parse().unwrap()).unwrap();
        let keys = Key::of(&name).and_above();
        let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
        assert_eq!(
            keys,
            [
                "a.example:5000/b/c/d",
                "a.example:5000/b/c",
                "a.example:5000/b",
                "a.example:5000"
            ]
        );
    }
}
