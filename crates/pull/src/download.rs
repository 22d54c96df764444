//! One file on its way into the cache: in one pass its bytes are hashed twice, kept, and handed on to be unpacked.

use std::io;

use box_cache::{Digest, Event, Hasher, Origin, Partial, Phase, Progress, TaskId};

use crate::BoxError;
use crate::error::{Cause, Error, Result, Tried};
use crate::fetch::{Failed, Fetcher, Opened};
use crate::http::{Continue, FileVersion};
use crate::keeper::Keeper;
use crate::layer::{LayerSink, LayerWriter, StagedLayer};
use crate::mirror::Location;

/// A try that brought this many bytes was not in vain: the number of tries starts over.
const PROGRESS: u64 = 256 << 10;

/// What a file must be like.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// For people: what is downloaded.
    pub name: String,
    /// Size in bytes, where it is known beforehand.
    pub size: Option<u64>,
    /// Its digest, where it is known beforehand.
    pub sha256: Option<Digest>,
    /// Its other digest, where it is known beforehand.
    pub sha512: Option<Digest>,
    /// Most bytes taken where the size is not known.
    pub limit: u64,
}

/// A download in progress.
pub(crate) struct Download<'a> {
    wanted: &'a Wanted,
    partial: Partial,
    sha512: Option<Hasher>,
    sink: &'a dyn LayerSink,
    layer: Feed,
    /// Bytes of the file that [`Feed`] and `sha512` have seen.
    fed: u64,
    /// Whether the bytes come from more than one answer, so that together they may be no version of the file at all.
    pieced: bool,
    /// Bytes that came in this process.
    received: u64,
    progress: &'a dyn Progress,
    task: TaskId,
    started: bool,
}

enum Feed {
    Open(Box<dyn LayerWriter>),
    /// The unpacking refused. If the bytes turn out to be the right ones, that is the failure; otherwise it is only
    /// its consequence.
    Broken(BoxError),
}

/// How much an answer brought.
enum Taken {
    /// All that there was.
    All,
    /// What came before it broke off.
    Some(Cause),
    /// More than there may be.
    TooMuch,
}

/// A file that is what it should be, and the layer made of it.
pub(crate) struct Downloaded {
    pub partial: Partial,
    pub layer: Box<dyn StagedLayer>,
    /// Where it came from, without credentials.
    pub url: String,
    /// Bytes that came over the network, or from a local mirror, in this process.
    pub received: u64,
    /// Size of the file.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

impl<'a> Download<'a> {
    pub(crate) fn new(
        wanted: &'a Wanted,
        partial: Partial,
        sink: &'a dyn LayerSink,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        Ok(Self {
            sha512: wanted.sha512.map(|_| Hasher::sha512()),
            layer: Feed::start(sink, &wanted.name)?,
            wanted,
            partial,
            sink,
            fed: 0,
            pieced: false,
            received: 0,
            progress,
            task: TaskId::next(),
            started: false,
        })
    }

    /// Brings the file from the first location that has it.
    pub(crate) fn fetch(
        mut self,
        fetcher: &Fetcher<'_>,
        locations: &[Location],
    ) -> Result<Result<Downloaded, Tried>> {
        let got = fetcher.try_each(locations, |location| self.once(fetcher, location));
        self.finish_task();
        match got {
            Ok(Ok(url)) => self.complete(url).map(Ok),
            Ok(Err(tried)) => Ok(Err(tried)),
            Err(error) => Err(self.give_up(error)),
        }
    }

    /// Takes the file from a stream, which can be read once.
    pub(crate) fn take_stream(mut self, opened: Opened) -> Result<Downloaded> {
        let url = opened.url.clone();
        let got = self.start(None).and_then(|()| self.fill(opened, None));
        self.finish_task();
        let failed = |cause: Cause| {
            let mut tried = Tried::default();
            tried.push(url.clone(), cause);
            Error::Unreachable {
                what: self.wanted.name.clone(),
                tried,
            }
        };
        match got {
            Ok(Ok(())) => match self.judge() {
                Ok(None) => self.complete(url),
                Ok(Some(cause)) => Err(failed(cause)),
                Err(error) => Err(error),
            },
            Ok(Err(cause)) => Err(failed(cause)),
            Err(error) => Err(error),
        }
    }

    /// One try at one location, from where the last one stopped. Returns the URL where the file is whole and right.
    fn once(
        &mut self,
        fetcher: &Fetcher<'_>,
        location: &Location,
    ) -> Result<Result<String, Failed>> {
        let url = location.to_string();
        loop {
            let before = self.received;
            let failed = |download: &Self, cause| Failed {
                cause,
                progressed: download.received - before >= PROGRESS,
            };
            self.start(Some(&url))?;
            let from = Continue {
                offset: self.partial.length(),
                validator: self.validator_for(&url),
            };
            self.pieced = from.offset > 0;
            // All bytes may be there already, left by a process that was killed just before the end.
            if self.wanted.size != Some(from.offset) {
                let filled = match fetcher.open(location, Some(&from))? {
                    Ok(opened) => self.fill(opened, Some(&url))?,
                    Err(Cause::Range(_)) if from.offset > 0 => {
                        // What is there does not fit to what the server has: it is worth nothing.
                        self.restart()?;
                        continue;
                    }
                    Err(cause) => Err(cause),
                };
                if let Err(cause) = filled {
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
            let text = format!("{url}: {cause}; the parts do not fit together, starting over");
            self.progress.event(Event::Note { text: &text });
        }
    }

    /// Makes sure that what is on disk was seen by digest and layer, and announces the download.
    fn start(&mut self, url: Option<&str>) -> Result<()> {
        let length = self.partial.length();
        if self.wanted.size.unwrap_or(self.wanted.limit) < length {
            self.restart()?;
        }
        if !self.started {
            self.started = true;
            self.progress.event(Event::Started {
                task: self.task,
                phase: Phase::Download,
                name: &self.wanted.name,
                total: self
                    .wanted
                    .size
                    .or(self.partial.origin().and_then(|o| o.size)),
            });
        }
        if self.fed < self.partial.length() {
            tracing::debug!(url, bytes = self.partial.length(), "continuing a download");
            self.feed_anew()?;
            let (sha512, layer, fed) = (&mut self.sha512, &mut self.layer, &mut self.fed);
            let mut full = None;
            self.partial.replay(&mut |bytes| {
                *fed += bytes.len() as u64;
                if let Some(hasher) = sha512 {
                    hasher.update(bytes);
                }
                full = full.take().or(layer.give(bytes).err());
                Ok(())
            })?;
            if let Some(error) = full {
                return Err(self.layer_failed(error.into()));
            }
            self.advance();
        }
        Ok(())
    }

    /// Takes all that an answer brings.
    fn fill(&mut self, mut opened: Opened, url: Option<&str>) -> Result<Result<(), Cause>> {
        if opened.offset != self.partial.length() {
            self.pieced = false;
            self.restart()?;
            if opened.offset > 0 {
                return Ok(Err(Cause::Range(opened.offset)));
            }
        }
        if let (Some(expected), Some(actual)) = (self.wanted.size, opened.size)
            && expected != actual
        {
            return Ok(Err(Cause::Size {
                expected,
                actual,
                html: opened.html,
            }));
        }
        let size = self.wanted.size.or(opened.size);
        let limit = size.unwrap_or(self.wanted.limit);
        if limit > self.wanted.limit {
            return Err(Error::TooLarge {
                what: opened.url,
                limit: self.wanted.limit,
            });
        }
        if let Some(url) = url {
            self.note_origin(url, &opened.version, size)?;
        }
        match self.take_all(&mut opened, limit)? {
            Taken::All => {}
            Taken::Some(cause) => return Ok(Err(cause)),
            Taken::TooMuch => {
                self.restart()?;
                return match size {
                    Some(limit) => Ok(Err(Cause::TooLong { limit })),
                    None => Err(Error::TooLarge {
                        what: opened.url,
                        limit,
                    }),
                };
            }
        }
        let actual = self.partial.length();
        Ok(match size {
            Some(expected) if actual < expected => Err(Cause::Truncated { expected, actual }),
            _ => Ok(()),
        })
    }

    /// Unpacks here what comes, and has it kept and hashed by another thread.
    fn take_all(&mut self, opened: &mut Opened, limit: u64) -> Result<Taken> {
        let before = self.partial.length();
        let mut length = before;
        let Self {
            partial,
            sha512,
            layer,
            progress,
            task,
            ..
        } = self;
        let mut full = None;
        let taken = std::thread::scope(|scope| {
            let keeper = Keeper::start(scope, partial, sha512.as_mut())?;
            let taken = loop {
                let mut buffer = keeper.buffer();
                let count = match opened.read(&mut buffer) {
                    Ok(0) => break Taken::All,
                    Ok(count) => count,
                    Err(cause) => break Taken::Some(cause),
                };
                if length + count as u64 > limit {
                    break Taken::TooMuch;
                }
                full = layer.give(&buffer[..count]).err();
                if full.is_some() || !keeper.keep(buffer, count) {
                    break Taken::All;
                }
                length += count as u64;
                progress.event(Event::Advanced {
                    task: *task,
                    bytes: length,
                });
            };
            keeper.finish().map(|()| taken)
        });
        self.fed += length - before;
        self.received += length - before;
        match full {
            Some(error) => Err(self.layer_failed(error.into())),
            None => taken,
        }
    }

    /// Whether the whole is what it should be; `None` where it is.
    fn judge(&mut self) -> Result<Option<Cause>> {
        let actual = self.partial.digest()?;
        if let Some(expected) = self.wanted.sha256
            && expected != actual
        {
            return Ok(Some(Cause::digest(&expected, &actual)));
        }
        if let (Some(expected), Some(hasher)) = (self.wanted.sha512, &self.sha512) {
            let actual = hasher.clone().finish();
            if expected != actual {
                return Ok(Some(Cause::digest(&expected, &actual)));
            }
        }
        Ok(None)
    }

    fn complete(mut self, url: String) -> Result<Downloaded> {
        let digest = self.partial.digest()?;
        let what = self.wanted.name.clone();
        let failed = |source| Error::Layer {
            what: what.clone(),
            source,
        };
        let layer = match self.layer {
            Feed::Open(writer) => writer.finish(),
            Feed::Broken(error) => Err(error),
        };
        Ok(Downloaded {
            layer: match layer {
                Ok(layer) => layer,
                Err(error) => {
                    // The bytes are the right ones and good for nothing: they are not worth keeping.
                    self.partial.discard()?;
                    return Err(failed(error));
                }
            },
            url,
            received: self.received,
            size: self.partial.length(),
            digest,
            partial: self.partial,
        })
    }

    /// Forgets all bytes.
    fn restart(&mut self) -> Result<()> {
        self.partial.restart()?;
        self.feed_anew()?;
        self.advance();
        Ok(())
    }

    fn feed_anew(&mut self) -> Result<()> {
        self.sha512 = self.wanted.sha512.map(|_| Hasher::sha512());
        if self.fed > 0 {
            self.layer = Feed::start(self.sink, &self.wanted.name)?;
        }
        self.fed = 0;
        Ok(())
    }

    /// What must still hold at `url` for the rest to fit. From elsewhere, or where nothing is known, the digest decides.
    fn validator_for(&self, url: &str) -> Option<String> {
        let origin = self.partial.origin().filter(|origin| origin.url == url)?;
        let version = FileVersion {
            etag: origin.etag.clone(),
            last_modified: origin.last_modified.clone(),
        };
        version.validator()
    }

    fn note_origin(&mut self, url: &str, version: &FileVersion, size: Option<u64>) -> Result<()> {
        let origin = Origin {
            url: url.to_owned(),
            etag: version.etag.clone(),
            last_modified: version.last_modified.clone(),
            size,
        };
        if self.partial.origin() != Some(&origin) {
            self.partial.set_origin(origin)?;
        }
        Ok(())
    }

    /// After a failure of ours. A disk that is full must not stay so because of us.
    fn give_up(self, error: Error) -> Error {
        if error.is_full()
            && let Err(other) = self.partial.discard()
        {
            tracing::debug!(error = %other, "a download stays on a full disk");
        }
        error
    }

    fn layer_failed(&self, source: BoxError) -> Error {
        Error::Layer {
            what: self.wanted.name.clone(),
            source,
        }
    }

    fn advance(&self) {
        let bytes = self.partial.length();
        self.progress.event(Event::Advanced {
            task: self.task,
            bytes,
        });
    }

    fn finish_task(&self) {
        if self.started {
            self.progress.event(Event::Finished { task: self.task });
        }
    }
}

impl Feed {
    fn start(sink: &dyn LayerSink, what: &str) -> Result<Self> {
        let writer = sink.layer().map_err(|e| Error::Layer {
            what: what.to_owned(),
            source: e.into(),
        })?;
        Ok(Self::Open(writer))
    }

    /// Hands bytes on. Only a full disk is an error at once, as it will not be less full later.
    fn give(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self::Open(writer) = self else {
            return Ok(());
        };
        match writer.write_all(bytes) {
            Err(error) if is_full(&error) => Err(error),
            Err(error) => {
                *self = Self::Broken(error.into());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
