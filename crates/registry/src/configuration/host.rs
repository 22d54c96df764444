//! Hosts of registries, with a port or without, and places below them.

use std::net::{Ipv4Addr, Ipv6Addr};

use box_transfer::Url;

use crate::RepositoryName;

/// A host, and a path there or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The host of names, as in `docker.io`.
    pub host: String,
    /// The path, without a slash at its ends.
    pub path: String,
}

impl Place {
    /// Reads `host[:port][/path]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_scheme(text)?;
        let (host, path) = match text.trim_end_matches('/').split_once('/') {
            Some((host, path)) => (host, path),
            None => (text.trim_end_matches('/'), ""),
        };
        check_host(host)?;
        if !path.is_empty() {
            path.split('/').try_for_each(check_component)?;
        }
        Ok(Self {
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The place of a repository by its name.
    pub fn of(name: &RepositoryName) -> Self {
        Self {
            host: name.host().to_owned(),
            path: name.path().to_owned(),
        }
    }
}

/// The host that answers for the registry of this name. Docker's has its protocol on another one.
pub(crate) fn contacted(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// The one spelling of a host, with a port or without: that of the URL by which it is contacted, where upper case, zeros before a port,
/// the port of HTTPS and the short forms of addresses make no difference. The hosts of docker's registry are one.
pub fn canonical_host(host: &str) -> String {
    let url = Url::parse(&format!("https://{host}/")).ok();
    let spelled = url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        })
    });
    let spelled = spelled.unwrap_or_else(|| host.to_ascii_lowercase());
    match spelled.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => spelled,
    }
}

/// Whether a host, with a port or without, is this machine: `localhost` and names below it (RFC 6761, section 6.3), 127.0.0.0/8, ::1.
pub(crate) fn is_loopback(host: &str) -> bool {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    let name = host.split(':').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Refuses a URL where a host is expected.
pub(super) fn check_scheme(text: &str) -> Result<(), String> {
    match text.contains("://") {
        true => Err(format!("{text:?} must be a host without a scheme")),
        false => Ok(()),
    }
}

/// Whether a text can stand for a host in a URL: a name or an address, perhaps with a port.
pub(super) fn check_host(text: &str) -> Result<(), String> {
    let refuse = || format!("{text:?} is not a host");
    let port = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or_else(refuse)?;
            address.parse::<Ipv6Addr>().map_err(|_| refuse())?;
            match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or_else(refuse)?),
            }
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let label = |label: &str| !label.is_empty() && label.bytes().all(plain);
            if name.len() > 253 || !name.split('.').all(label) {
                return Err(refuse());
            }
            port
        }
    };
    match port {
        Some(port) if port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()) => {
            Err(refuse())
        }
        _ => Ok(()),
    }
}

/// A component of a path: characters of names only, so that it stays where it is put in a URL.
fn check_component(component: &str) -> Result<(), String> {
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    match component {
        "" | "." | ".." => Err(format!("{component:?} is not a part of a name")),
        _ if component.bytes().all(plain) => Ok(()),
        _ => Err(format!("{component:?} is not a part of a name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_several_names() {
        for host in [
            "localhost",
            "LOCALHOST:5000",
            "registry.localhost:5000",
            "127.0.0.1",
            "127.255.0.9:80",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example",
            "mylocalhost",
            "127.0.0.1.example",
            "128.0.0.1",
            "[::2]:5000",
            "[::ffff:127.0.0.1]",
            "127.1",
            "",
            "[",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        for (text, host) in [
            ("ghcr.io", "ghcr.io"),
            ("GHCR.io:443", "ghcr.io"),
            ("ghcr.io:0443", "ghcr.io"),
            ("ghcr.io:444", "ghcr.io:444"),
            ("localhost:05000", "localhost:5000"),
            ("[0:0:0:0:0:0:0:1]:5000", "[::1]:5000"),
            ("10.1:5000", "10.0.0.1:5000"),
            ("0xa000001:5000", "10.0.0.1:5000"),
            ("index.docker.io", "docker.io"),
            ("registry-1.docker.io:443", "docker.io"),
            ("a_b.example:5000", "a_b.example:5000"),
        ] {
            assert_eq!(canonical_host(text), host, "{text}");
        }
    }

    #[test]
    fn a_place_cannot_leave_its_host_or_its_path() {
        for text in [
            "mirror",
            "mirror.example:5000",
            "10.0.0.1:5000/a/b-c__d",
            "[::1]:5000/a",
            "UPPER/x",
            "a/",
        ] {
            assert!(Place::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "/a",
            "a//b",
            "a/../b",
            "a/.",
            "a/b?c",
            "a/b#c",
            "a/%2e%2e",
            "a@b/c",
            "user:pass@host",
            "host:port",
            "host:99999",
            "host:+1",
            "https://host",
            "[::1",
            "[::1]x",
            "a..b",
            "a b",
            "a\n",
        ] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
