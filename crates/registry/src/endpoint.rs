//! The places that serve a repository.

use box_transfer::{CaCerts, Identity};

/// One place that serves a repository: the registry itself, or a mirror of it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The host and port to contact, such as `registry-1.docker.io` or `localhost:5000`.
    pub host: String,
    /// The path of the repository there, such as `library/nginx`; a mirror may have it below a path of its own.
    pub path: String,
    /// How well the connection must be protected.
    pub security: Security,
    /// Certificate authorities that are trusted for this host, in addition to the system's.
    pub ca_certs: Vec<CaCerts>,
    /// The certificate by which the client is known to this host.
    pub identity: Option<Identity>,
    /// Which requests a mirror may answer; everything for the registry itself.
    pub answers: Answers,
}

/// How well the connection to a host must be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// HTTPS with a valid certificate.
    Verified,
    /// The host is this machine: HTTPS with a valid certificate, or HTTP where the server speaks no TLS.
    Loopback,
    /// Marked insecure by the user: HTTPS with any certificate, or HTTP where the server speaks no TLS.
    Insecure,
}

/// Which requests for manifests a mirror may answer (`pull-from-mirror` of registries.conf). Blobs are always asked for by digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// All.
    #[default]
    All,
    /// Those that name a digest.
    Digests,
    /// Those that name a tag.
    Tags,
}
