//! Answers of servers.

use std::io::Read;
use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Url, blocking};

use super::{Resume, failure};
use crate::attempt::Cause;
use crate::body::Body;
use crate::location::shown;
use crate::printable::Printable;
use crate::retry::retry_after;

/// Longest validator that is kept, in bytes.
const LONGEST_VALIDATOR: usize = 200;

/// An answer, whatever its status.
pub struct Response {
    url: String,
    inner: blocking::Response,
    stall_timeout: Duration,
}

/// What distinguishes one version of a file at a URL from the next (RFC 9110, section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The `Last-Modified` header.
    pub last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let short = |name| {
            text(headers, name)
                .filter(|v| v.len() <= LONGEST_VALIDATOR)
                .map(str::to_owned)
        };
        Self {
            etag: short(header::ETAG),
            last_modified: short(header::LAST_MODIFIED),
        }
    }

    /// The value for `If-Range`: a strong entity tag, else the time of the last change.
    pub fn if_range(&self) -> Option<String> {
        let strong = self.etag.as_ref().filter(|tag| tag.starts_with('"'));
        strong.or(self.last_modified.as_ref()).cloned()
    }
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

    /// The HTTP status code.
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Reads the next bytes of the body; 0 is its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        self.inner
            .read(buffer)
            .map_err(|e| failure::of_body(&e, self.stall_timeout))
    }

    /// The file that was requested, from `resume` on; the failure where the status says that it does not follow.
    pub(super) fn into_body(self, resume: Option<&Resume>) -> Result<Body, Cause> {
        let status = self.inner.status();
        let wanted = resume.map_or(0, |resume| resume.offset);
        let headers = self.inner.headers();
        let (offset, size) = match status.as_u16() {
            200 => (0, self.inner.content_length()),
            206 => content_range(headers, wanted)?,
            404 | 410 => return Err(Cause::Absent),
            416 => return Err(Cause::Range(wanted)),
            code => {
                let asked = text(headers, header::RETRY_AFTER);
                return Err(Cause::Status {
                    status: code,
                    reason: status.canonical_reason(),
                    retry_after: asked.and_then(|v| retry_after(v, SystemTime::now())),
                });
            }
        };
        let validators = Validators::of(headers);
        let html = text(headers, header::CONTENT_TYPE).is_some_and(|t| t.starts_with("text/html"));
        Ok(Body::http(self, offset, size, validators, html))
    }
}

/// Offset and size by a `Content-Range` header (RFC 9110, section 14.4), which must start at `wanted`.
fn content_range(headers: &HeaderMap, wanted: u64) -> Result<(u64, Option<u64>), Cause> {
    let value = text(headers, header::CONTENT_RANGE).unwrap_or_default();
    let parse = || {
        let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
        let start: u64 = range.split_once('-')?.0.parse().ok()?;
        let size = match size {
            "*" => None,
            size => Some(size.parse().ok()?),
        };
        Some((start, size))
    };
    match parse() {
        Some((start, size)) if start == wanted => Ok((start, size)),
        _ => Err(Cause::Protocol(format!(
            "requested the bytes from {wanted} on, the Content-Range is `{}`",
            Printable::new(value)
        ))),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
