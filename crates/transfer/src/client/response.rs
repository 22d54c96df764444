//! Answers of servers.

use std::io::Read;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{StatusCode, Url, blocking};

use super::failure;
use crate::attempt::Cause;
use crate::location::shown;

/// An answer, whatever its status.
pub struct Response {
    url: String,
    inner: blocking::Response,
    stall_timeout: Duration,
}

impl Response {
    pub(super) fn new(url: &Url, inner: blocking::Response, stall_timeout: Duration) -> Self {
        Self {
            url: shown(url),
            inner,
            stall_timeout,
        }
    }

    /// The URL that answered, after all redirections, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The first header of a name, if it is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The size of the body in bytes, if it is known beforehand.
    pub fn length(&self) -> Option<u64> {
        self.inner.content_length()
    }

    /// Reads the next bytes of the body; 0 is its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        self.inner
            .read(buffer)
            .map_err(|e| failure::of_body(&e, self.stall_timeout))
    }
}
