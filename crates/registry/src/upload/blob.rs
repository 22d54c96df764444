//! One blob, from a file to a repository.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use box_cache::Digest;
use box_transfer::{Cause, Content, Method, Request, Response};

use super::failure::Setback;
use super::session::{self, Session, Step};
use crate::Result;
use crate::auth::Access;
use crate::repository::Repository;

/// A blob in a file.
#[derive(Debug)]
pub struct BlobFile<'a> {
    /// The digest of the file.
    pub digest: Digest,
    /// The size of the file in bytes.
    pub size: u64,
    /// The file.
    pub file: &'a File,
    /// Counts what was sent.
    pub(super) sent: Meter,
}

/// Counts the bytes of a blob that were sent.
#[derive(Debug, Default)]
pub(super) struct Meter {
    begun: AtomicBool,
    base: AtomicU64,
    part: Arc<AtomicU64>,
}

/// How a blob has come into a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Present,
    /// The registry had it in another repository, which has this path.
    Mounted(String),
    /// It was sent.
    Sent,
}

impl<'a> BlobFile<'a> {
    /// A blob that is all of a file.
    pub fn new(digest: Digest, size: u64, file: &'a File) -> Self {
        Self {
            digest,
            size,
            file,
            sent: Meter::default(),
        }
    }

    pub(super) fn part(&self, offset: u64, length: u64) -> Content<'a> {
        Content::File {
            file: self.file,
            offset,
            length,
            sent: Some(Arc::clone(&self.sent.part)),
        }
    }
}

impl Meter {
    /// What follows is sent from this offset on.
    pub(super) fn start(&self, offset: u64) {
        self.part.store(0, Ordering::Relaxed);
        self.base.store(offset, Ordering::Relaxed);
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.base.load(Ordering::Relaxed) + self.part.load(Ordering::Relaxed)
    }
}

impl Repository<'_> {
    /// Brings a blob into the repository: not at all if it is there, else from the repositories of the same registry with the paths
    /// `mount_from`, else from the file.
    pub fn upload(&self, blob: &BlobFile<'_>, mount_from: &[String]) -> Result<Arrival> {
        let what = format!("{}@{}", self.name, blob.digest);
        let mut upload = Upload {
            to: self,
            blob,
            mount_from,
            session: None,
            chunk: None,
        };
        self.persist(&what, || upload.once())
    }

    /// Whether a blob is in the repository. A registry that does not answer such questions has none.
    fn has_blob(&self, digest: &Digest) -> Result<Result<bool, Cause>> {
        let url = self.url(&self.places.registry, &format!("blobs/{digest}"))?;
        let request = Request {
            method: Method::HEAD,
            ..Request::new(&url)
        };
        let sent = self.send(&self.places.registry, &Access::Push, &request)?;
        Ok(match sent {
            Ok(response) => match response.status().as_u16() {
                200..=299 => Ok(true),
                429 | 500..=599 => Err(Cause::of_status(&response)),
                _ => Ok(false),
            },
            Err(Cause::Absent) => Ok(false),
            Err(cause) => Err(cause),
        })
    }
}

/// A blob on its way.
struct Upload<'a> {
    to: &'a Repository<'a>,
    blob: &'a BlobFile<'a>,
    mount_from: &'a [String],
    /// The upload of the last try, if it may go on.
    session: Option<Session>,
    /// The size of chunks, if the blob cannot be sent at once.
    chunk: Option<u64>,
}

impl Upload<'_> {
    fn once(&mut self) -> Step<Arrival> {
        // Also if the last try failed: perhaps only its answer was lost.
        match self.to.has_blob(&self.blob.digest)? {
            Ok(true) => return Ok(Ok(Arrival::Present)),
            Ok(false) => {}
            Err(cause) => return Ok(Err(cause.into())),
        }
        if let Some(session) = self.session.as_mut().filter(|session| !session.repeats()) {
            match session.resume(self.to, self.blob)? {
                Ok(true) => {}
                Ok(false) => self.session = None,
                Err(setback) => return Ok(Err(setback)),
            }
        }
        if self.session.is_none() {
            match self.begin()? {
                Ok(None) => {}
                Ok(Some(arrival)) => return Ok(Ok(arrival)),
                Err(setback) => return Ok(Err(setback)),
            }
        }
        let Some(session) = &mut self.session else {
            return Ok(Err(session::lost()));
        };
        match session.fill(self.to, self.blob)? {
            Ok(()) => Ok(Ok(Arrival::Sent)),
            Err(setback) => Ok(Err(self.after(setback))),
        }
    }

    /// Decides how the next try is made.
    fn after(&mut self, mut setback: Setback) -> Setback {
        let Some(mut session) = self.session.take() else {
            return setback;
        };
        let repeated = session.repeats();
        if let Some(chunk) = session.smaller(&setback, self.blob) {
            let host = &self.to.places.registry.host;
            self.to.session.warn_once(&format!(
                "{host} does not take {} at once: {}; sending chunks",
                self.blob.digest, setback.cause
            ));
            self.chunk = Some(chunk);
            setback.again = true;
        } else if setback.again && session.is_worth_resuming() || session.may_repeat(&setback) {
            self.session = Some(session);
        } else if repeated && matches!(setback.cause, Cause::Status { .. }) {
            // It had taken something the first time: a new upload has not.
            setback.again = true;
        }
        setback
    }

    /// Begins an upload, or finds that none is needed.
    fn begin(&mut self) -> Step<Option<Arrival>> {
        while let Some((from, rest)) = self.mount_from.split_first() {
            self.mount_from = rest;
            let access = Access::Mount(from.clone());
            let query = [
                ("mount", self.blob.digest.to_string()),
                ("from", from.clone()),
            ];
            // Whatever is wrong with the other repository, the blob can still be sent.
            match self.post(&access, &query)? {
                Ok(response) if response.status() == 201 => {
                    return Ok(Ok(Some(Arrival::Mounted(from.clone()))));
                }
                Ok(response) if response.status() == 202 => return Ok(self.started(&response)),
                Ok(response) => tracing::debug!(%from, status = %response.status(), "no mount"),
                Err(cause) => tracing::debug!(%from, %cause, "no mount"),
            }
        }
        let mut response = match self.post(&Access::Push, &[])? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause.into())),
        };
        match response.status().as_u16() {
            202 => Ok(self.started(&response)),
            404 => Ok(Err(Cause::Absent.into())),
            _ => Ok(Err(session::refused(&mut response))),
        }
    }

    fn started(&mut self, response: &Response) -> Result<Option<Arrival>, Setback> {
        let url = response.url().parse();
        let url = url.map_err(|_| Cause::Protocol("an answer without a URL".to_owned()))?;
        self.session = Some(Session::begun(
            response,
            &url,
            (self.blob.size, self.chunk),
        )?);
        Ok(None)
    }

    fn post(&self, access: &Access, query: &[(&str, String)]) -> Result<Result<Response, Cause>> {
        let endpoint = &self.to.places.registry;
        let mut url = self.to.url(endpoint, "blobs/uploads/")?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = Request {
            method: Method::POST,
            content: Some(Content::Bytes(b"")),
            ..Request::new(&url)
        };
        self.to.send(endpoint, access, &request)
    }
}
