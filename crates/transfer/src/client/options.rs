//! How the client speaks to servers.

use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder};
use reqwest::{Certificate, NoProxy, Proxy};

use super::failure;
use super::netrc::Netrc;
use crate::error::{Error, Result};
use crate::printable::Printable;

/// How to speak to servers. Nothing is read from the environment or from files here.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Certificates that are trusted in addition to those of the system.
    pub ca_certs: Vec<CaCerts>,
    /// Proxies.
    pub proxies: Proxies,
    /// Names and passwords for hosts.
    pub netrc: Netrc,
    /// Longest time to wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time to wait for the next byte. A whole transfer may take any time.
    pub stall_timeout: Duration,
    /// Longest chain of redirections.
    pub redirects: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ca_certs: Vec::new(),
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
    pub(super) fn any_secure(&self) -> bool {
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
    pub(super) fn builder(&self) -> Result<ClientBuilder> {
        let builder = Client::builder()
            .user_agent(concat!("box/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            // For each single wait, not for the whole transfer: see reqwest's `blocking`.
            .timeout(self.stall_timeout);
        self.proxies.add_to(builder)
    }

    pub(super) fn certificates(&self) -> Result<Vec<Certificate>> {
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
