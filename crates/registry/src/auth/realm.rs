//! Which token server may see credentials.
//!
//! A registry names its token server itself, so a hostile one could have credentials sent in the clear, or to services that only this
//! machine or its network reaches.

use std::net::{IpAddr, Ipv6Addr};

use box_transfer::Url;

use crate::configuration::is_loopback;
use crate::endpoint::{Endpoint, Security};

/// What a token server may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Credentials.
    Credentials,
    /// A request without any.
    Request,
    /// No request.
    Nothing,
}

/// How far a public or a private address reaches, by how it is written. A name is public: only its owner knows better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Machine,
    Link,
    Private,
    Public,
}

/// What the token server at `realm` may get from who asks `endpoint`, which was reached at `url`.
pub(super) fn trust(realm: &Url, endpoint: &Endpoint, url: &Url) -> Trust {
    let same_host = realm.host_str() == url.host_str();
    let (theirs, own) = (reach(realm), reach(url));
    let far_enough = same_host || theirs >= own;
    if points_inward(realm, url) && !same_host {
        return Trust::Nothing;
    }
    let secret = match (realm.scheme(), endpoint.security) {
        ("https", _) => true,
        // The connection to the registry is as open to others.
        (_, Security::Loopback) => theirs == Reach::Machine,
        (_, Security::Insecure) => same_host || (own, theirs) == (Reach::Machine, Reach::Machine),
        (_, Security::Verified) => false,
    };
    match far_enough && secret {
        true => Trust::Credentials,
        false => Trust::Request,
    }
}

/// Whether a URL that a server at `from` names leads to this machine or to its own link, where a stranger has nothing to ask for:
/// services that only this machine reaches answer there. A server on this machine may name others on it.
pub fn points_inward(url: &Url, from: &Url) -> bool {
    let (theirs, own) = (reach(url), reach(from));
    theirs == Reach::Link || (theirs == Reach::Machine && own != Reach::Machine)
}

fn reach(url: &Url) -> Reach {
    let host = url.host_str().unwrap_or_default();
    if is_loopback(host) {
        return Reach::Machine;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(inner) => of_address(IpAddr::V4(inner)),
            None => of_address(IpAddr::V6(address)),
        },
        Ok(address) => of_address(address),
        Err(_) => Reach::Public,
    }
}

fn of_address(address: IpAddr) -> Reach {
    let v4 = |f: fn(&std::net::Ipv4Addr) -> bool| matches!(address, IpAddr::V4(a) if f(&a));
    let v6 = |f: fn(&Ipv6Addr) -> bool| matches!(address, IpAddr::V6(a) if f(&a));
    if address.is_loopback() || address.is_unspecified() {
        Reach::Machine
    } else if v4(std::net::Ipv4Addr::is_link_local) || v6(Ipv6Addr::is_unicast_link_local) {
        Reach::Link
    } else if v4(std::net::Ipv4Addr::is_private) || v6(Ipv6Addr::is_unique_local) || v4(is_shared) {
        Reach::Private
    } else {
        Reach::Public
    }
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(address: &std::net::Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && b & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Security::{Insecure, Loopback, Verified};
    use super::Trust::{Credentials, Nothing, Request};
    use super::*;
    use crate::endpoint::Answers;

    /// The URL of the registry, how well it must be protected, the realm that it names, and what that may get.
    #[rustfmt::skip]
    const CASES: &[(&str, Security, &str, Trust)] = &[
        ("https://r.example", Verified, "https://auth.other.example/t", Credentials),
        ("https://r.example", Verified, "http://auth.other.example/t", Request),
        ("https://r.example", Verified, "http://r.example/t", Request),
        ("https://r.example", Verified, "https://10.0.0.1/t", Request),
        ("https://r.example", Verified, "https://100.64.0.1/t", Request),
        ("https://r.example", Verified, "https://[fd00::1]/t", Request),
        ("https://r.example", Verified, "https://[::ffff:192.168.0.1]/t", Request),
        ("https://r.example", Verified, "https://localhost/t", Nothing),
        ("https://r.example", Verified, "https://127.1/t", Nothing),
        ("https://r.example", Verified, "https://0x7f000001/t", Nothing),
        ("https://r.example", Verified, "http://169.254.169.254/latest/t", Nothing),
        ("https://r.example", Verified, "https://[fe80::1]/t", Nothing),
        ("https://10.0.0.1:5000", Verified, "https://10.0.0.2/t", Credentials),
        ("https://10.0.0.1:5000", Verified, "https://127.0.0.1/t", Nothing),
        ("https://10.0.0.1", Insecure, "http://10.0.0.2/t", Request),
        ("http://10.0.0.1:5000", Insecure, "http://10.0.0.1:5001/t", Credentials),
        ("http://10.0.0.1:5000", Insecure, "http://auth.example/t", Request),
        ("http://127.0.0.1:5000", Loopback, "http://localhost:5001/t", Credentials),
        ("http://127.0.0.1:5000", Loopback, "http://127.0.0.1:5001/t", Credentials),
        ("http://127.0.0.1:5000", Loopback, "http://auth.example/t", Request),
        ("http://127.0.0.1:5000", Loopback, "https://auth.example/t", Credentials),
        ("http://127.0.0.1:5000", Loopback, "http://169.254.169.254/t", Nothing),
    ];

    #[test]
    fn a_stranger_has_nothing_to_ask_for_on_this_machine() {
        for (from, url, expected) in [
            ("https://r.example", "https://cdn.example/l", false),
            ("https://r.example", "http://10.0.0.1/l", false),
            ("https://r.example", "http://127.0.0.1:8080/l", true),
            ("https://r.example", "http://localhost/l", true),
            ("https://r.example", "http://[::1]/l", true),
            ("https://10.0.0.1", "http://127.0.0.1/l", true),
            ("https://r.example", "http://169.254.169.254/l", true),
            ("http://127.0.0.1:5000", "http://169.254.169.254/l", true),
            ("http://127.0.0.1:5000", "http://localhost:5001/l", false),
        ] {
            let inward = points_inward(&url.parse().unwrap(), &from.parse().unwrap());
            assert_eq!(inward, expected, "{from} {url}");
        }
    }

    #[test]
    fn credentials_stay_out_of_reach_of_others() {
        for &(url, security, realm, expected) in CASES {
            let url: Url = url.parse().unwrap();
            let endpoint = Endpoint {
                host: url.host_str().unwrap().to_owned(),
                path: "a".to_owned(),
                security,
                ca_certs: Vec::new(),
                identity: None,
                answers: Answers::All,
            };
            assert_eq!(
                trust(&realm.parse().unwrap(), &endpoint, &url),
                expected,
                "{url} {realm}"
            );
        }
    }
}
