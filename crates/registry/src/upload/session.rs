//! One upload of one blob: begun, filled by one request or by chunks, and ended with the digest.

use box_transfer::header::{self, HeaderMap, HeaderName, HeaderValue};
use box_transfer::{Cause, Content, Method, Request, Response, Url};

use super::blob::BlobFile;
use super::failure::Setback;
use super::{range, target};
use crate::Result;
use crate::auth::Access;
use crate::complaint::Complaint;
use crate::repository::Repository;

/// The size of chunks, where a registry does not want a blob at once: most proxies let as much through.
const CHUNK: u64 = 4 << 20;

/// The smallest chunk that is tried, unless the registry asks for larger ones.
const SMALLEST_CHUNK: u64 = 64 << 10;

/// How often in a row a registry may accept a chunk and keep nothing of it.
const FROZEN: u32 = 3;

/// The most redirections of what is sent. Those within a host are followed by the client.
const REDIRECTIONS: usize = 3;

/// The smallest chunk that a registry takes (but for the last one).
const MINIMUM: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// An upload that the registry has begun.
pub(super) struct Session {
    /// Where the next request goes.
    url: Url,
    /// The number of bytes that the registry has.
    offset: u64,
    /// The size of chunks, if the blob is not sent at once.
    chunk: Option<u64>,
    /// The smallest chunk that the registry takes.
    least: u64,
    /// How often in a row nothing was kept.
    frozen: u32,
    /// Whether this is the second time that the blob is sent at once.
    repeats: bool,
}

/// What became of an upload.
pub(super) type Step<T> = Result<Result<T, Setback>>;

impl Session {
    /// The upload that an answer to its beginning describes.
    pub(super) fn begun(
        response: &Response,
        url: &Url,
        (size, chunk): (u64, Option<u64>),
    ) -> Result<Self, Cause> {
        let least = response
            .header(MINIMUM)
            .and_then(|text| text.trim().parse::<u64>().ok())
            .filter(|least| *least > 0);
        let url = moved(response, url)?
            .ok_or_else(|| Cause::Protocol("an upload without a Location".to_owned()))?;
        Ok(Self {
            url,
            offset: 0,
            // A blob that is smaller than the smallest chunk has to be sent at once.
            chunk: chunk.or(least.filter(|least| size > *least).map(|_| CHUNK)),
            least: least.unwrap_or(SMALLEST_CHUNK),
            frozen: 0,
            repeats: false,
        })
    }

    /// Sends what the registry does not have yet, and ends the upload.
    pub(super) fn fill(&mut self, to: &Repository<'_>, blob: &BlobFile<'_>) -> Step<()> {
        match self.chunk {
            Some(_) => self.by_chunks(to, blob),
            None => self.at_once(to, blob),
        }
    }

    /// The size of chunks to try next, once the whole blob at once has failed like this; `None` if it should be tried again.
    pub(super) fn smaller(&self, setback: &Setback, blob: &BlobFile<'_>) -> Option<u64> {
        let too_large = matches!(
            setback.cause,
            Cause::Status {
                status: 411 | 413 | 416,
                ..
            }
        );
        // A server may also close the connection where it should say that. And what arrived in chunks need not be sent again.
        let broke = matches!(
            setback.cause,
            Cause::Broken(_) | Cause::Stalled(_) | Cause::Unaccepted(_)
        );
        let chunk = CHUNK.max(self.least);
        (self.chunk.is_none() && (too_large || broke && blob.size > chunk)).then_some(chunk)
    }

    /// Whether the registry has a part of the blob, which need not be sent again.
    pub(super) fn is_worth_resuming(&self) -> bool {
        self.chunk.is_some() && self.offset > 0
    }

    /// Whether the blob can be sent to the same upload again, once, after a failure of the registry: it may have taken nothing.
    pub(super) fn may_repeat(&mut self, setback: &Setback) -> bool {
        let failed = matches!(setback.cause, Cause::Status { .. }) && setback.again;
        failed && self.chunk.is_none() && !std::mem::replace(&mut self.repeats, true)
    }

    /// Whether the blob was sent to this upload before, without success.
    pub(super) fn repeats(&self) -> bool {
        self.repeats
    }

    /// Asks how much has arrived. Returns false if the registry has forgotten the upload.
    pub(super) fn resume(&mut self, to: &Repository<'_>, blob: &BlobFile<'_>) -> Step<bool> {
        let request = Request::new(&self.url);
        let response = match to.send(&to.places.registry, &Access::Push, &request)? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause.into())),
        };
        if !response.status().is_success() {
            let cause = Cause::of_status(&response);
            return Ok(match cause.is_transient() {
                true => Err(cause.into()),
                false => Ok(false),
            });
        }
        let url = match moved(&response, &self.url) {
            Ok(url) => url,
            Err(cause) => return Ok(Err(cause.into())),
        };
        let one = blob.size == 1;
        let range = response.header(header::RANGE);
        match range.and_then(|range| range::received(range, one)) {
            Some(offset) if offset <= blob.size => {
                self.offset = offset;
                self.url = url.unwrap_or_else(|| self.url.clone());
                Ok(Ok(true))
            }
            _ => Ok(Ok(false)),
        }
    }

    fn at_once(&mut self, to: &Repository<'_>, blob: &BlobFile<'_>) -> Step<()> {
        let url = target::last(&self.url, &blob.digest);
        blob.sent.start(0);
        let content = blob.part(0, blob.size);
        let mut response = match send(to, Method::PUT, &url, octets(None), content)? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause.into())),
        };
        Ok(ended(&mut response, blob))
    }

    fn by_chunks(&mut self, to: &Repository<'_>, blob: &BlobFile<'_>) -> Step<()> {
        let start = self.offset;
        while self.offset < blob.size {
            if let Err(mut setback) = self.one_chunk(to, blob)? {
                setback.progressed = self.offset > start;
                return Ok(Err(setback));
            }
        }
        let url = target::last(&self.url, &blob.digest);
        let mut response = match send(to, Method::PUT, &url, octets(None), Content::Bytes(b""))? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause.into())),
        };
        Ok(ended(&mut response, blob))
    }

    fn one_chunk(&mut self, to: &Repository<'_>, blob: &BlobFile<'_>) -> Step<()> {
        let length = self
            .chunk
            .unwrap_or(CHUNK)
            .max(self.least)
            .min(blob.size - self.offset);
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        blob.sent.start(self.offset);
        let content = blob.part(self.offset, length);
        let url = self.url.clone();
        let mut response = match send(to, Method::PATCH, &url, octets(Some(&range)), content)? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause.into())),
        };
        match response.status().as_u16() {
            200..=299 => {}
            413 if length > self.least => {
                self.chunk = Some((length / 2).max(self.least));
                return self.again(to, blob, None);
            }
            416 => return self.again(to, blob, None),
            _ => return Ok(Err(refused(&mut response))),
        }
        match moved(&response, &url) {
            Ok(next) => self.url = next.unwrap_or(url),
            Err(cause) => return Ok(Err(cause.into())),
        }
        let expected = self.offset + length;
        let range = response.header(header::RANGE);
        match range.and_then(|range| range::received(range, expected == 1)) {
            // Some registries write the same range into every answer: the upload itself knows better.
            Some(arrived) if arrived != expected => self.again(to, blob, Some(expected)),
            _ => Ok(self.advance(expected, expected)),
        }
    }

    /// Goes on where the registry is, after a chunk that was not or not quite accepted. `otherwise` is where to go on if the registry
    /// does not say where it is.
    fn again(
        &mut self,
        to: &Repository<'_>,
        blob: &BlobFile<'_>,
        otherwise: Option<u64>,
    ) -> Step<()> {
        let before = self.offset;
        match self.resume(to, blob)? {
            Ok(true) => {
                let arrived = std::mem::replace(&mut self.offset, before);
                Ok(self.advance(arrived, blob.size))
            }
            Ok(false) => Ok(match otherwise {
                Some(arrived) => self.advance(arrived, arrived),
                None => Err(lost()),
            }),
            Err(setback) => Ok(Err(setback)),
        }
    }

    fn advance(&mut self, arrived: u64, most: u64) -> Result<(), Setback> {
        if arrived > most {
            let why = format!("the registry has {arrived} bytes of {most} that were sent");
            return Err(Cause::Protocol(why).into());
        }
        match arrived > self.offset {
            true => self.frozen = 0,
            false => self.frozen += 1,
        }
        if self.frozen >= FROZEN {
            let why = format!("the registry accepts bytes, and stays at {arrived}");
            return Err(Cause::Protocol(why).into());
        }
        self.offset = arrived;
        Ok(())
    }
}

/// The setback of an upload that the registry has forgotten: a new one may do better.
pub(super) fn lost() -> Setback {
    Setback {
        cause: Cause::Protocol("the registry has lost the upload".to_owned()),
        progressed: false,
        again: true,
    }
}

/// Sends bytes to the repository, or wherever it wants to have them.
pub(super) fn send(
    to: &Repository<'_>,
    method: Method,
    url: &Url,
    headers: HeaderMap,
    content: Content<'_>,
) -> Result<Result<Response, Cause>> {
    let mut url = url.clone();
    for _ in 0..REDIRECTIONS {
        let request = Request {
            method: method.clone(),
            headers: headers.clone(),
            content: Some(content.clone()),
            ..Request::new(&url)
        };
        let response = match to.send(&to.places.registry, &Access::Push, &request)? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause)),
        };
        match response.status().as_u16() {
            307 | 308 => match moved(&response, &url) {
                Ok(Some(next)) => url = next,
                Ok(None) => return Ok(Ok(response)),
                Err(cause) => return Ok(Err(cause)),
            },
            _ => return Ok(Ok(response)),
        }
    }
    Ok(Err(Cause::Redirects(REDIRECTIONS)))
}

/// The URL for the next request, if an answer has one.
fn moved(response: &Response, asked: &Url) -> Result<Option<Url>, Cause> {
    let Some(location) = response.headers().get(header::LOCATION) else {
        return Ok(None);
    };
    // Redirections may have changed it.
    let base = response.url().parse();
    let base = base.as_ref().unwrap_or(asked);
    target::next(base, location.as_bytes()).map(Some)
}

/// The headers of bytes, which are a part of a blob if there is a range.
fn octets(range: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(range).ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    headers
}

/// Whether an upload has become the blob that it should be.
fn ended(response: &mut Response, blob: &BlobFile<'_>) -> Result<(), Setback> {
    if !response.status().is_success() {
        return Err(refused(response));
    }
    super::manifest::compare(response, &blob.digest)?;
    blob.sent.start(blob.size);
    Ok(())
}

/// The setback of an answer that is not the one hoped for.
pub(super) fn refused(response: &mut Response) -> Setback {
    let complaint = Complaint::read(response);
    match complaint.cause(response) {
        Cause::Absent => lost(),
        cause => cause.into(),
    }
}
