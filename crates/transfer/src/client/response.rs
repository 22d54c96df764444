//! Answers of servers.

use std::io::{Cursor, Read};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{StatusCode, Url, blocking};

use super::failure;
use super::sender::Answer;
use crate::attempt::Cause;
use crate::location::shown;

/// An answer, whatever its status.
pub struct Response {
    url: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

/// What follows the headers.
enum Body {
    /// On its way.
    Arriving {
        inner: blocking::Response,
        stall_timeout: Duration,
    },
    /// All of it.
    Whole(Cursor<Vec<u8>>),
}

impl Response {
    pub(super) fn new(url: &Url, inner: blocking::Response, stall_timeout: Duration) -> Self {
        Self {
            url: shown(url),
            status: inner.status(),
            headers: inner.headers().clone(),
            body: Body::Arriving {
                inner,
                stall_timeout,
            },
        }
    }

    pub(super) fn whole(url: &Url, answer: Answer) -> Self {
        Self {
            url: shown(url),
            status: answer.status,
            headers: answer.headers,
            body: Body::Whole(Cursor::new(answer.body)),
        }
    }

    /// The URL that answered, after all redirections, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first header of a name, if it is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The size of the body in bytes, if it is known beforehand.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            Body::Arriving { inner, .. } => inner.content_length(),
            Body::Whole(body) => Some(body.get_ref().len() as u64),
        }
    }

    /// Reads the next bytes of the body; 0 is its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        match &mut self.body {
            Body::Arriving {
                inner,
                stall_timeout,
            } => inner
                .read(buffer)
                .map_err(|e| failure::of_body(&e, *stall_timeout)),
            Body::Whole(body) => body.read(buffer).map_err(Cause::File),
        }
    }
}
