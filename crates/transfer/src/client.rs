//! HTTP and HTTPS requests. Every redirection is checked, and every failure described in words.

mod failure;
mod netrc;
mod options;
mod redirect;
mod response;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use reqwest::blocking::{Body, RequestBuilder};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url, blocking};

use crate::attempt::Cause;
use crate::error::{Error, Result};
use redirect::Redirection;

pub use netrc::Netrc;
pub use options::{CaCerts, ClientOptions, Identity, Proxies};
pub use response::Response;

/// An HTTP client. It keeps a thread alive until it is dropped.
pub struct Client {
    options: ClientOptions,
    /// Without trusted roots: reading those of the system takes longer than fetching a small file from a near server.
    plain: OnceLock<blocking::Client>,
    secure: OnceLock<blocking::Client>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What to do; GET by default.
    pub method: Method,
    /// What to ask for.
    pub url: &'a Url,
    /// Headers beside the usual ones. They follow a redirection within the same origin only.
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
            let client = self.client(&url)?;
            let built = match self.build(client, &url, &request) {
                Ok(built) => built,
                Err(cause) => return Ok(Err(cause)),
            };
            let response = match built.send() {
                Ok(response) => response,
                Err(e) => {
                    let ClientOptions {
                        connect_timeout,
                        stall_timeout,
                        ..
                    } = self.options;
                    return Ok(Err(failure::of_request(&e, connect_timeout, stall_timeout)));
                }
            };
            match redirect::of(&url, &response) {
                Ok(None) => {
                    let stall_timeout = self.options.stall_timeout;
                    return Ok(Ok(Response::new(&url, response, stall_timeout)));
                }
                Ok(Some(Redirection { same_origin, .. }))
                    if !same_origin && request.content.is_some() =>
                {
                    let stall_timeout = self.options.stall_timeout;
                    return Ok(Ok(Response::new(&url, response, stall_timeout)));
                }
                Ok(Some(Redirection { to, same_origin })) => {
                    url = to;
                    if !same_origin {
                        request.headers.clear();
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

    fn client(&self, url: &Url) -> Result<&blocking::Client> {
        let secure = url.scheme() == "https";
        let cell = match secure {
            true => &self.secure,
            false => &self.plain,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let builder = self.options.builder()?;
        let builder = match secure || self.options.proxies.any_secure() {
            true => self.options.secured(builder)?,
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
        request: &Request<'_>,
    ) -> Result<RequestBuilder, Cause> {
        let headers = &request.headers;
        let authorized = headers.contains_key(header::AUTHORIZATION)
            || !url.username().is_empty()
            || url.password().is_some();
        let mut built = client
            .request(request.method.clone(), url.clone())
            // The bytes as they are: their digest is known, that of a compressed transfer is not.
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )
            .headers(headers.clone());
        if let Some(resume) = request.resume.filter(|resume| resume.offset > 0) {
            built = built.header(header::RANGE, format!("bytes={}-", resume.offset));
            if let Some(validator) = &resume.validator {
                built = built.header(header::IF_RANGE, validator);
            }
        }
        if let Some(content) = &request.content {
            built = built.body(content.body()?);
        }
        Ok(
            match url
                .host_str()
                .and_then(|host| self.options.netrc.credentials(host))
            {
                Some((login, password)) if !authorized => built.basic_auth(login, Some(password)),
                _ => built,
            },
        )
    }
}

impl Content<'_> {
    fn body(&self) -> Result<Body, Cause> {
        Ok(match self {
            Self::Bytes(bytes) => Body::from(bytes.to_vec()),
            Self::File {
                file,
                offset,
                length,
            } => {
                let file = file.try_clone().map_err(Cause::File)?;
                let part = Part {
                    file,
                    at: *offset,
                    left: *length,
                };
                Body::sized(part, *length)
            }
        })
    }
}

/// A part of a file, read by offset: clones of a file share its position.
struct Part {
    file: File,
    at: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
