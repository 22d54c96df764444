//! HTTP and HTTPS requests. Every redirection is checked, and every failure described in words.

mod failure;
mod netrc;
mod options;
mod redirect;
mod response;

use std::cell::OnceCell;

use reqwest::blocking::RequestBuilder;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Url, blocking};

use crate::attempt::Cause;
use crate::error::{Error, Result};
use redirect::Redirection;

pub use netrc::Netrc;
pub use options::{CaCerts, ClientOptions, Proxies};
pub use response::Response;

/// An HTTP client. It keeps a thread alive until it is dropped.
pub struct Client<'a> {
    options: &'a ClientOptions,
    /// Without trusted roots: reading those of the system takes longer than fetching a small file from a near server.
    plain: OnceCell<blocking::Client>,
    secure: OnceCell<blocking::Client>,
}

/// One GET request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What to ask for.
    pub url: &'a Url,
    /// Headers beside the usual ones. They follow a redirection within the same origin only.
    pub headers: HeaderMap,
    /// Where to continue, if a part of the file is there already.
    pub resume: Option<&'a Resume>,
}

/// Where to continue a file.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Number of bytes that are there already.
    pub offset: u64,
    /// The validator that must still hold for the rest to fit (RFC 9110, section 13.1.5), if one is known.
    pub validator: Option<String>,
}

impl<'a> Request<'a> {
    /// A request for the whole of `url`, with the usual headers.
    pub fn new(url: &'a Url) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            resume: None,
        }
    }
}

impl<'a> Client<'a> {
    /// Connects to nothing yet.
    pub fn new(options: &'a ClientOptions) -> Self {
        // The provider that reqwest uses. This fails only if one is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            options,
            plain: OnceCell::new(),
            secure: OnceCell::new(),
        }
    }

    /// Sends a request, follows redirections, and returns the answer, whatever its status.
    pub fn send(&self, request: &Request<'_>) -> Result<Result<Response, Cause>> {
        let mut url = request.url.clone();
        let mut headers = request.headers.clone();
        for _ in 0..=self.options.redirects {
            let client = self.client(&url)?;
            let built = self.build(client, &url, headers.clone(), request.resume);
            let response = match built.send() {
                Ok(response) => response,
                Err(e) => {
                    let ClientOptions {
                        connect_timeout,
                        stall_timeout,
                        ..
                    } = *self.options;
                    return Ok(Err(failure::of_request(&e, connect_timeout, stall_timeout)));
                }
            };
            match redirect::of(&url, &response) {
                Ok(None) => {
                    let stall_timeout = self.options.stall_timeout;
                    return Ok(Ok(Response::new(&url, response, stall_timeout)));
                }
                Ok(Some(Redirection { to, same_origin })) => {
                    url = to;
                    if !same_origin {
                        headers.clear();
                    }
                }
                Err(cause) => return Ok(Err(cause)),
            }
        }
        Ok(Err(Cause::Redirects(self.options.redirects)))
    }

    fn client(&self, url: &Url) -> Result<&blocking::Client> {
        let secure = url.scheme() == "https";
        let cell = match secure {
            true => &self.secure,
            false => &self.plain,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = self.options.builder()?;
        builder = match secure || self.options.proxies.any_secure() {
            true => builder.tls_certs_merge(self.options.certificates()?),
            false => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(|e| Error::Tls {
            why: failure::deepest(&e),
        })?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(
        &self,
        client: &blocking::Client,
        url: &Url,
        headers: HeaderMap,
        resume: Option<&Resume>,
    ) -> RequestBuilder {
        let authorized = headers.contains_key(header::AUTHORIZATION)
            || !url.username().is_empty()
            || url.password().is_some();
        let mut request = client
            .get(url.clone())
            // The bytes as they are: their digest is known, that of a compressed transfer is not.
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )
            .headers(headers);
        if let Some(resume) = resume.filter(|resume| resume.offset > 0) {
            request = request.header(header::RANGE, format!("bytes={}-", resume.offset));
            if let Some(validator) = &resume.validator {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        match url
            .host_str()
            .and_then(|host| self.options.netrc.credentials(host))
        {
            Some((login, password)) if !authorized => request.basic_auth(login, Some(password)),
            _ => request,
        }
    }
}

#[cfg(test)]
mod tests;
