//! How the client speaks to servers.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy};

use super::failure;
use super::netrc::Netrc;
use crate::error::{Error, Result};
use crate::printable::Printable;

/// How to speak to servers. Nothing is read from the environment or from files here.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Certificates that are trusted in addition to those of the system.
    pub ca_certs: Vec<CaCerts>,
    /// The certificate by which the client itself is known to servers that ask for one.
    pub identity: Option<Identity>,
    /// Take any certificate of a server. Nothing is protected then.
    pub any_certificate: bool,
    /// Proxies.
    pub proxies: Proxies,
    /// Names and passwords for hosts.
    pub netrc: Netrc,
    /// Longest time to wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time to wait for the next byte, or for the other side to accept one. A whole transfer may take any time.
    pub stall_timeout: Duration,
    /// Longest chain of redirections.
    pub redirects: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ca_certs: Vec::new(),
            identity: None,
            any_certificate: false,
            proxies: Proxies::default(),
            netrc: Netrc::default(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            redirects: 10,
        }
    }
}

/// A file of certificates, as read by the caller.
#[derive(Clone, Debug)]
pub struct CaCerts {
    /// Its name, for messages.
    pub name: String,
    /// One or more certificates in PEM.
    pub pem: Vec<u8>,
}

/// A client's certificate and its private key, as read by the caller.
#[derive(Clone)]
pub struct Identity {
    /// The name of its file, for messages.
    pub name: String,
    /// The certificate, those of its authorities, and the key, in PEM.
    pub pem: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    /// Shows no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Proxies as the usual variables give them (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`); each an
/// `http://`, `https://` or `socks5://` URL.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://` URLs.
    pub http: Option<String>,
    /// For `https://` URLs.
    pub https: Option<String>,
    /// For URLs without a proxy of their own.
    pub all: Option<String>,
    /// Hosts, domains and networks to be reached directly, separated by commas.
    pub none_for: Option<String>,
}

impl Proxies {
    /// Whether a proxy for plain URLs is itself reached over TLS.
    fn any_secure(&self) -> bool {
        [&self.http, &self.all]
            .into_iter()
            .flatten()
            .any(|p| p.starts_with("https:"))
    }

    fn add_to(&self, mut builder: ClientBuilder) -> Result<ClientBuilder> {
        let none_for = self.none_for.as_deref().and_then(NoProxy::from_string);
        type Make = fn(&str) -> reqwest::Result<Proxy>;
        let kinds: [(&Option<String>, Make); 3] = [
            (&self.http, |p| Proxy::http(p)),
            (&self.https, |p| Proxy::https(p)),
            (&self.all, |p| Proxy::all(p)),
        ];
        for (setting, make) in kinds {
            let Some(setting) = setting.as_deref().filter(|s| !s.is_empty()) else {
                continue;
            };
            let proxy = make(setting).map_err(|e| Error::Proxy {
                proxy: Printable::new(setting.rsplit('@').next().unwrap_or_default()),
                why: failure::deepest(&e),
            })?;
            builder = builder.proxy(proxy.no_proxy(none_for.clone()));
        }
        Ok(builder)
    }
}

impl ClientOptions {
    /// Without trusted roots unless TLS is needed: reading those of the system takes longer than fetching a small file from a near
    /// server.
    pub(super) fn builder(&self, secure: bool) -> Result<ClientBuilder> {
        let builder = self.plain()?;
        match secure || self.proxies.any_secure() {
            true => self.secured(builder),
            false => Ok(builder.tls_certs_only([])),
        }
    }

    fn plain(&self) -> Result<ClientBuilder> {
        let builder = Client::builder()
            .user_agent(concat!("box/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            // For bytes that the other side does not accept: tcp(7), TCP_USER_TIMEOUT.
            .tcp_user_timeout(self.stall_timeout);
        self.proxies.add_to(builder)
    }

    /// What only an encrypted connection needs.
    fn secured(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        let mut builder = builder
            .tls_certs_merge(self.certificates()?)
            .tls_danger_accept_invalid_certs(self.any_certificate);
        if let Some(Identity { name, pem }) = &self.identity {
            let identity = reqwest::Identity::from_pem(pem).map_err(|e| Error::Certificate {
                name: name.clone(),
                why: failure::deepest(&e),
            })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    fn certificates(&self) -> Result<Vec<Certificate>> {
        let mut all = Vec::new();
        for file in &self.ca_certs {
            let unusable = |why: String| Error::Certificate {
                name: file.name.clone(),
                why,
            };
            let certificates = Certificate::from_pem_bundle(&file.pem)
                .map_err(|e| unusable(failure::deepest(&e)))?;
            if certificates.is_empty() {
                return Err(unusable("it holds no PEM certificate".to_owned()));
            }
            all.extend(certificates);
        }
        Ok(all)
    }
}
