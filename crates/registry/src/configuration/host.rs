//! Hosts of registries, with a port or without.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The host that answers for the registry of this name. Docker's has its protocol on another one.
pub(crate) fn contacted(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
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
}
