//! HTTP and HTTPS requests. Every redirection is checked, and every failure described in words.

mod failure;
mod netrc;
mod options;
mod redirect;
mod response;
mod sender;

use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use reqwest::blocking::RequestBuilder;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url, blocking};

use crate::attempt::Cause;
use crate::error::{Error, Result};
use redirect::Redirection;
use sender::Sender;

pub use netrc::Netrc;
pub use options::{CaCerts, ClientOptions, Identity, Proxies};
pub use response::Response;

/// An HTTP client. It keeps a thread alive until it is dropped.
pub struct Client {
    options: ClientOptions,
    /// Without trusted roots: reading those of the system takes longer than fetching a small file from a near server.
    plain: OnceLock<blocking::Client>,
    secure: OnceLock<blocking::Client>,
    /// For requests that send something; by scheme as above.
    plain_sender: OnceLock<Sender>,
    secure_sender: OnceLock<Sender>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What to do; GET by default.
    pub method: Method,
    /// What to ask for.
    pub url: &'a Url,
    /// Headers beside the usual ones. They follow a redirection within the same origin only, except for `Accept`.
    pub headers: HeaderMap,
    /// Where to continue, if a part of the file is there already.
    pub resume: Option<&'a Resume>,
    /// The bytes to send.
    pub content: Option<Content<'a>>,
}

/// The bytes that a request sends.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A part of a file. It is read while it is sent, and again if the request has to be sent again.
    File {
        /// The file. Only its bytes at the offsets below are read; its own position does not matter.
        file: &'a File,
        /// The first byte to send.
        offset: u64,
        /// The number of bytes to send.
        length: u64,
        /// Receives the number of bytes of this part that were handed to the connection.
        sent: Option<Arc<AtomicU64>>,
    },
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
    /// A GET request for the whole of `url`, with the usual headers.
    pub fn new(url: &'a Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            resume: None,
            content: None,
        }
    }
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(options: &ClientOptions) -> Self {
        // The provider that reqwest uses. This fails only if one is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            options: options.clone(),
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            plain_sender: OnceLock::new(),
            secure_sender: OnceLock::new(),
        }
    }

    /// Sends a request, follows redirections, and returns the answer, whatever its status.
    ///
    /// A redirection keeps the method and what is sent, except that 303 asks for a GET (RFC 9110, section 15.4.4). What is sent
    /// goes to the first origin only: a redirection of it to another one is an answer in itself.
    ///
    /// # Errors
    /// The inner failure is that of this one try; nothing is repeated here.
    pub fn send(&self, request: &Request<'_>) -> Result<Result<Response, Cause>> {
        let mut url = request.url.clone();
        let mut request = request.clone();
        for _ in 0..=self.options.redirects {
            let response = match self.once(&url, &request)? {
                Ok(response) => response,
                Err(cause) => return Ok(Err(cause)),
            };
            match redirect::of(&url, response.status(), response.headers()) {
                Ok(None) => return Ok(Ok(response)),
                Ok(Some(Redirection { same_origin, .. }))
                    if !same_origin && request.content.is_some() =>
                {
                    return Ok(Ok(response));
                }
                Ok(Some(Redirection { to, same_origin })) => {
                    url = to;
                    if !same_origin {
                        // What is accepted tells nothing about who asks.
                        let accept = request.headers.remove(header::ACCEPT);
                        request.headers.clear();
                        if let Some(accept) = accept {
                            request.headers.insert(header::ACCEPT, accept);
                        }
                    }
                    if response.status() == StatusCode::SEE_OTHER {
                        request.content = None;
                        if request.method != Method::HEAD {
                            request.method = Method::GET;
                        }
                    }
                }
                Err(cause) => return Ok(Err(cause)),
            }
        }
        Ok(Err(Cause::Redirects(self.options.redirects)))
    }

    /// Sends a request without following redirections.
    fn once(&self, url: &Url, request: &Request<'_>) -> Result<Result<Response, Cause>> {
        let ClientOptions {
            connect_timeout,
            stall_timeout,
            ..
        } = self.options;
        if let Some(content) = &request.content {
            let credentials = self.credentials(url, request);
            let head = (&request.method, url, &request.headers, credentials);
            let sent = self
                .sender(url)?
                .send(head, content, (connect_timeout, stall_timeout));
            return Ok(sent.map(|answer| Response::whole(url, answer)));
        }
        let sent = self.build(self.client(url)?, url, request).send();
        Ok(sent
            .map(|response| Response::new(url, response, stall_timeout))
            .map_err(|e| failure::of_request(&e, connect_timeout, stall_timeout)))
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
        let builder = blocking::ClientBuilder::from(self.options.builder(secure)?)
            // For each single wait, not for the whole transfer: see reqwest's `blocking`.
            .timeout(self.options.stall_timeout);
        let client = builder.build().map_err(|e| Error::Tls {
            why: failure::deepest(&e),
        })?;
        Ok(cell.get_or_init(|| client))
    }

    fn sender(&self, url: &Url) -> Result<&Sender> {
        let secure = url.scheme() == "https";
        let cell = match secure {
            true => &self.secure_sender,
            false => &self.plain_sender,
        };
        if let Some(sender) = cell.get() {
            return Ok(sender);
        }
        let sender = Sender::new(self.options.builder(secure)?)?;
        Ok(cell.get_or_init(|| sender))
    }

    fn build(&self, client: &blocking::Client, url: &Url, request: &Request<'_>) -> RequestBuilder {
        let mut built = client
            .request(request.method.clone(), url.clone())
            // The bytes as they are: their digest is known, that of a compressed transfer is not.
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )
            .headers(request.headers.clone());
        if let Some(resume) = request.resume.filter(|resume| resume.offset > 0) {
            built = built.header(header::RANGE, format!("bytes={}-", resume.offset));
            if let Some(validator) = &resume.validator {
                built = built.header(header::IF_RANGE, validator);
            }
        }
        match self.credentials(url, request) {
            Some((login, password)) => built.basic_auth(login, Some(password)),
            None => built,
        }
    }

    /// What the user has for a request's host, unless the request brings credentials of its own.
    fn credentials(&self, url: &Url, request: &Request<'_>) -> Option<(&str, &str)> {
        let authorized = request.headers.contains_key(header::AUTHORIZATION)
            || !url.username().is_empty()
            || url.password().is_some();
        let host = url.host_str().filter(|_| !authorized)?;
        self.options.netrc.credentials(host)
    }
}

#[cfg(test)]
mod tests;
