//! Clients for hosts, each with the certificates that the host needs, and the scheme that it speaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use box_transfer::{Cause, Client, ClientOptions, Printable, Request, Response, Url};

use crate::Result;
use crate::endpoint::{Endpoint, Security};

/// One client for each host, as each may have certificates of its own.
#[derive(Default)]
pub(super) struct Connections {
    clients: Mutex<HashMap<(String, bool), Arc<Client>>>,
    /// The hosts that speak no TLS, and those that do; only of those that may do without.
    plain: Mutex<HashMap<String, bool>>,
}

impl Connections {
    /// Sends a request to an endpoint. Where TLS may be missing, it is tried first, and what the server speaks is remembered.
    pub(super) fn send(
        &self,
        options: &ClientOptions,
        endpoint: &Endpoint,
        request: &Request<'_>,
    ) -> Result<Result<Response, Cause>> {
        let client = self.client(options, endpoint, true);
        let known = self.is_plain(endpoint);
        let first = with_scheme(request.url, known == Some(true));
        let sent = client.send(&Request {
            url: &first,
            ..request.clone()
        })?;
        if known.is_some() {
            return Ok(sent);
        }
        let cause = match sent {
            Ok(response) => {
                self.learn(endpoint, false);
                return Ok(Ok(response));
            }
            Err(cause) if is_a_bad_certificate(&cause) => return Ok(Err(cause)),
            Err(cause) => cause,
        };
        tracing::debug!(host = endpoint.host, %cause, "no answer over TLS, trying without");
        let second = with_scheme(request.url, true);
        let sent = client.send(&Request {
            url: &second,
            ..request.clone()
        })?;
        Ok(match sent {
            Ok(response) => {
                self.learn(endpoint, true);
                Ok(response)
            }
            // Neither works: the first failure is that of the way that should have worked.
            Err(_) => Err(cause),
        })
    }

    /// The URL of something at an endpoint, by its path from the root, with the scheme that the host speaks as far as that is known.
    pub(super) fn url(&self, endpoint: &Endpoint, path: &str) -> box_transfer::Result<Url> {
        let text = format!("https://{}{path}", endpoint.host);
        let url = Url::parse(&text).map_err(|e| box_transfer::Error::Url {
            url: Printable::new(&text),
            why: e.to_string(),
        })?;
        Ok(with_scheme(&url, self.is_plain(endpoint) == Some(true)))
    }

    /// The client for a URL that an endpoint names, such as that of a token server: with the certificates of the endpoint, and its
    /// privileges only where the host is the same.
    pub(super) fn elsewhere(
        &self,
        options: &ClientOptions,
        endpoint: &Endpoint,
        url: &Url,
    ) -> Arc<Client> {
        let own = Url::parse(&format!("https://{}", endpoint.host));
        let same = own.is_ok_and(|own| own.host_str() == url.host_str());
        self.client(options, endpoint, same)
    }

    /// A client for URLs of which nothing is known.
    pub(super) fn anywhere(&self, options: &ClientOptions) -> Arc<Client> {
        self.cached(String::new(), false, || Client::new(options))
    }

    fn client(&self, options: &ClientOptions, endpoint: &Endpoint, own: bool) -> Arc<Client> {
        self.cached(endpoint.host.clone(), own, || {
            let mut options = options.clone();
            options.ca_certs.extend(endpoint.ca_certs.iter().cloned());
            if own {
                options.identity = endpoint.identity.clone().or(options.identity);
                options.any_certificate |= endpoint.security == Security::Insecure;
            }
            Client::new(&options)
        })
    }

    fn cached(&self, host: String, own: bool, make: impl FnOnce() -> Client) -> Arc<Client> {
        // A client that was inserted is whole: nothing that panics leaves a bad one behind.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.entry((host, own));
        client.or_insert_with(|| Arc::new(make())).clone()
    }

    /// Whether a host speaks no TLS; `None` where that is not known yet.
    fn is_plain(&self, endpoint: &Endpoint) -> Option<bool> {
        if endpoint.security == Security::Verified {
            return Some(false);
        }
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.get(&endpoint.host).copied()
    }

    fn learn(&self, endpoint: &Endpoint, is_plain: bool) {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.entry(endpoint.host.clone()).or_insert(is_plain);
    }
}

/// Whether a URL is at the host and port of an endpoint. The scheme does not count: a registry behind a proxy may not know its own.
pub(super) fn is_at(url: &Url, endpoint: &Endpoint) -> bool {
    let own = |plain| {
        let own = Url::parse(&format!("https://{}", endpoint.host)).ok()?;
        Some(with_scheme(&own, plain))
    };
    [false, true].into_iter().filter_map(own).any(|own| {
        own.host_str() == url.host_str()
            && own.port_or_known_default() == url.port_or_known_default()
            && own.scheme() == url.scheme()
    })
}

fn with_scheme(url: &Url, plain: bool) -> Url {
    let mut url = url.clone();
    // Fails only between schemes of different kinds, and both are those of HTTP.
    let _ = url.set_scheme(if plain { "http" } else { "https" });
    url
}

/// Whether the server speaks TLS, and its certificate is not accepted: there is nothing to fall back to then.
fn is_a_bad_certificate(cause: &Cause) -> bool {
    matches!(cause, Cause::Tls(why) if why.contains("certificate"))
}
