//! What an HTTP answer says of the file that was requested.

use reqwest::header::{self, HeaderName};

use super::{Body, Bytes};
use crate::attempt::Cause;
use crate::client::{Response, Resume};
use crate::printable::Printable;

/// Longest validator that is kept, in bytes.
const LONGEST_VALIDATOR: usize = 200;

/// What distinguishes one version of a file at a URL from the next (RFC 9110, section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The `Last-Modified` header.
    pub last_modified: Option<String>,
}

impl Validators {
    fn of(response: &Response) -> Self {
        let short = |name: HeaderName| {
            let value = response.header(name);
            value
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

/// The file in an answer, from `resume` on; the failure if the status says that it does not follow.
pub(super) fn file(response: Response, resume: Option<&Resume>) -> Result<Body, Cause> {
    let wanted = resume.map_or(0, |resume| resume.offset);
    let (offset, size) = match response.status().as_u16() {
        200 => (0, response.length()),
        206 => content_range(&response, wanted)?,
        416 => return Err(Cause::Range(wanted)),
        _ => return Err(Cause::of_status(&response)),
    };
    let media_type = response.header(header::CONTENT_TYPE);
    Ok(Body {
        url: response.url().to_owned(),
        offset,
        size,
        validators: Validators::of(&response),
        html: media_type.is_some_and(|t| t.starts_with("text/html")),
        from: Bytes::Http(Box::new(response)),
    })
}

/// Offset and size by a `Content-Range` header (RFC 9110, section 14.4), which must start at `wanted`.
fn content_range(response: &Response, wanted: u64) -> Result<(u64, Option<u64>), Cause> {
    let value = response.header(header::CONTENT_RANGE).unwrap_or_default();
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
