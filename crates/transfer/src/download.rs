//! One blob on its way into the cache: in one pass its bytes are hashed, kept, and handed to a [`Tap`].

mod receive;
mod writer;

use box_cache::{Digest, Event, Hasher, Origin, Partial, Phase, Progress, TaskId};

use crate::BoxError;
use crate::attempt::{Attempts, Cause};
use crate::body::{Body, Validators};
use crate::client::Resume;
use crate::error::{Error, Result};
use crate::fetcher::{FailedTry, Fetcher};
use crate::location::Location;

/// After a try that brought this many bytes, the number of tries starts over.
const PROGRESS: u64 = 256 << 10;

/// What a blob must be like.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its name, for people.
    pub name: String,
    /// Its size in bytes, if known beforehand.
    pub size: Option<u64>,
    /// Its SHA-256 digest, if known beforehand.
    pub sha256: Option<Digest>,
    /// Its SHA-512 digest, if known beforehand.
    pub sha512: Option<Digest>,
    /// The largest size accepted, in bytes.
    pub limit: u64,
}

/// Receives a copy of a blob's bytes while they arrive, on the caller's thread. They are not verified yet.
pub trait Tap {
    /// Discards all bytes received so far: the blob starts over.
    ///
    /// # Errors
    /// Any error ends the download.
    fn restart(&mut self) -> Result<(), BoxError>;

    /// Receives the next bytes.
    ///
    /// # Errors
    /// Any error ends the download. A tap that cannot use the bytes accepts them nevertheless, so that it is known in the end
    /// whether they are at fault.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BoxError>;
}

/// A download in progress.
pub struct Download<'a> {
    blob: &'a Blob,
    partial: Partial,
    sha512: Option<Hasher>,
    tap: &'a mut dyn Tap,
    /// Bytes of the blob that `tap` and `sha512` have received.
    tapped: u64,
    /// Whether the bytes come from more than one answer, so that together they may be no version of the file at all.
    pieced: bool,
    /// Bytes received in this process.
    received: u64,
    progress: &'a dyn Progress,
    task: TaskId,
    started: bool,
}

/// A whole blob with the size and digests expected. It has no name in the cache yet.
pub struct Downloaded {
    /// Its bytes.
    pub partial: Partial,
    /// Where it came from, without credentials.
    pub url: String,
    /// Bytes received over the network, or read from a local file, in this process.
    pub received: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 digest.
    pub digest: Digest,
}

impl<'a> Download<'a> {
    /// Starts with whatever bytes `partial` holds. `tap` must have received none.
    pub fn new(
        blob: &'a Blob,
        partial: Partial,
        tap: &'a mut dyn Tap,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            sha512: blob.sha512.map(|_| Hasher::sha512()),
            blob,
            partial,
            tap,
            tapped: 0,
            pieced: false,
            received: 0,
            progress,
            task: TaskId::next(),
            started: false,
        }
    }

    /// Downloads the blob from the first location that has it. What a failure leaves is continued by the next download of
    /// the same blob, in any process.
    ///
    /// # Errors
    /// After an error on this side the bytes stay, unless the disk is full.
    pub fn fetch(
        mut self,
        fetcher: &Fetcher<'_>,
        locations: &[Location],
    ) -> Result<Result<Downloaded, Attempts>> {
        let got = fetcher.try_each(locations, |location| self.once(fetcher, location));
        self.finish_task(matches!(got, Ok(Ok(_))));
        match got {
            Ok(Ok(url)) => self.complete(url).map(Ok),
            Ok(Err(attempts)) => Ok(Err(attempts)),
            Err(error) => Err(self.give_up(error)),
        }
    }

    /// Reads the blob from a stream, which can be read once.
    pub fn read(mut self, body: Body) -> Result<Result<Downloaded, Attempts>> {
        let url = body.url.clone();
        let got = self.start(None).and_then(|()| self.receive(body, None));
        let cause = match got {
            Ok(Ok(())) => self.judge(),
            Ok(Err(cause)) => Ok(Some(cause)),
            Err(error) => Err(error),
        };
        self.finish_task(matches!(cause, Ok(None)));
        let Some(cause) = cause? else {
            return self.complete(url).map(Ok);
        };
        let mut attempts = Attempts::default();
        attempts.push(url, cause);
        Ok(Err(attempts))
    }

    /// One try at one location, from where the last one stopped. Returns the URL when the blob is whole and right.
    fn once(
        &mut self,
        fetcher: &Fetcher<'_>,
        location: &Location,
    ) -> Result<Result<String, FailedTry>> {
        let url = location.to_string();
        loop {
            let before = self.received;
            let failed = |download: &Self, cause| FailedTry {
                cause,
                progressed: download.received - before >= PROGRESS,
            };
            self.start(Some(&url))?;
            let resume = Resume {
                offset: self.partial.length(),
                validator: self.validator_for(&url),
            };
            self.pieced = resume.offset > 0;
            // All bytes may be there already, left by a process that was killed just before the end.
            if self.blob.size != Some(resume.offset) {
                let received = match fetcher.open(location, Some(&resume))? {
                    Ok(body) => self.receive(body, Some(&url))?,
                    Err(Cause::Range(_)) if resume.offset > 0 => {
                        // The bytes that are there do not fit what the server has: they are worth nothing.
                        self.restart()?;
                        continue;
                    }
                    Err(cause) => Err(cause),
                };
                if let Err(cause) = received {
                    return Ok(Err(failed(self, cause)));
                }
            }
            let Some(cause) = self.judge()? else {
                return Ok(Ok(url));
            };
            self.restart()?;
            if !self.pieced {
                return Ok(Err(failed(self, cause)));
            }
            fetcher.note(&format!(
                "{url}: {cause}; the parts do not fit together, starting over"
            ));
        }
    }

    /// Compares the digests of the whole; `None` where they are right.
    fn judge(&mut self) -> Result<Option<Cause>> {
        let actual = self.partial.digest()?;
        if let Some(expected) = self.blob.sha256
            && expected != actual
        {
            return Ok(Some(Cause::digest(&expected, &actual)));
        }
        if let (Some(expected), Some(hasher)) = (self.blob.sha512, &self.sha512) {
            let actual = hasher.clone().finish();
            if expected != actual {
                return Ok(Some(Cause::digest(&expected, &actual)));
            }
        }
        Ok(None)
    }

    fn complete(mut self, url: String) -> Result<Downloaded> {
        let digest = self.partial.digest()?;
        Ok(Downloaded {
            url,
            received: self.received,
            size: self.partial.length(),
            digest,
            partial: self.partial,
        })
    }

    /// What must still hold at `url` for the rest to fit. If the first part came from elsewhere, or nothing is known, the
    /// digest of the whole decides.
    fn validator_for(&self, url: &str) -> Option<String> {
        let origin = self.partial.origin().filter(|origin| origin.url == url)?;
        let validators = Validators {
            etag: origin.etag.clone(),
            last_modified: origin.last_modified.clone(),
        };
        validators.if_range()
    }

    fn note_origin(&mut self, url: &str, validators: &Validators, size: Option<u64>) -> Result<()> {
        let origin = Origin {
            url: url.to_owned(),
            etag: validators.etag.clone(),
            last_modified: validators.last_modified.clone(),
            size,
        };
        if self.partial.origin() != Some(&origin) {
            self.partial.set_origin(origin)?;
        }
        Ok(())
    }

    /// Cleans up after an error on this side: a full disk must not stay full because of this download.
    fn give_up(self, error: Error) -> Error {
        if error.is_full()
            && let Err(other) = self.partial.discard()
        {
            tracing::debug!(error = %other, "a partial download stays on a full disk");
        }
        error
    }

    fn announce(&mut self) {
        if self.started {
            return;
        }
        self.started = true;
        let known = self.partial.origin().and_then(|origin| origin.size);
        self.progress.event(Event::Started {
            task: self.task,
            phase: Phase::Download,
            name: &self.blob.name,
            total: self.blob.size.or(known),
        });
    }

    fn advance(&self) {
        let bytes = self.partial.length();
        self.progress.event(Event::Advanced {
            task: self.task,
            bytes,
        });
    }

    fn finish_task(&self, complete: bool) {
        if self.started {
            let task = self.task;
            self.progress.event(Event::Finished { task, complete });
        }
    }
}
