//! Taking in the bytes of one answer, after those that are there already.

use box_cache::{Event, Hasher};

use super::Download;
use super::writer::Writer;
use crate::BoxError;
use crate::attempt::Cause;
use crate::body::Body;
use crate::error::{Error, Result};

/// How much an answer brought.
enum Received {
    /// All of it.
    All,
    /// A part, before it broke off.
    Part(Cause),
    /// More than is accepted.
    TooMuch,
}

impl Download<'_> {
    /// Announces the download, and shows the bytes that are on disk to the digest and the tap.
    pub(super) fn start(&mut self, url: Option<&str>) -> Result<()> {
        let length = self.partial.length();
        if self.blob.size.unwrap_or(self.blob.limit) < length {
            self.restart()?;
        }
        self.announce();
        if self.tapped < self.partial.length() {
            tracing::debug!(url, bytes = self.partial.length(), "continuing a download");
            self.restart_tap()?;
            let (sha512, tap, tapped) = (&mut self.sha512, &mut *self.tap, &mut self.tapped);
            let mut failed = None;
            self.partial.replay(&mut |bytes| {
                *tapped += bytes.len() as u64;
                if let Some(hasher) = sha512 {
                    hasher.update(bytes);
                }
                failed = failed.take().or_else(|| tap.write(bytes).err());
                Ok(())
            })?;
            if let Some(error) = failed {
                return Err(self.tap_failed(error));
            }
            self.advance();
        }
        Ok(())
    }

    /// Takes all bytes of an answer.
    pub(super) fn receive(
        &mut self,
        mut body: Body,
        url: Option<&str>,
    ) -> Result<Result<(), Cause>> {
        if body.offset != self.partial.length() {
            self.pieced = false;
            self.restart()?;
            if body.offset > 0 {
                return Ok(Err(Cause::Range(body.offset)));
            }
        }
        if let (Some(expected), Some(actual)) = (self.blob.size, body.size)
            && expected != actual
        {
            return Ok(Err(Cause::Size {
                expected,
                actual,
                html: body.html,
            }));
        }
        let size = self.blob.size.or(body.size);
        let limit = size.unwrap_or(self.blob.limit);
        if limit > self.blob.limit {
            return Err(Error::TooLarge {
                what: body.url,
                limit: self.blob.limit,
            });
        }
        if let Some(url) = url {
            self.note_origin(url, &body.validators, size)?;
        }
        match self.receive_all(&mut body, limit)? {
            Received::All => {}
            Received::Part(cause) => return Ok(Err(cause)),
            Received::TooMuch => {
                self.restart()?;
                return match size {
                    Some(limit) => Ok(Err(Cause::TooLong { limit })),
                    None => Err(Error::TooLarge {
                        what: body.url,
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

    /// Hands the bytes to the tap on this thread, and has them kept and hashed by another one.
    fn receive_all(&mut self, body: &mut Body, limit: u64) -> Result<Received> {
        let before = self.partial.length();
        let mut length = before;
        let Self {
            partial,
            sha512,
            tap,
            progress,
            task,
            ..
        } = self;
        let mut failed = None;
        let received = std::thread::scope(|scope| {
            let writer = Writer::start(scope, partial, sha512.as_mut())?;
            let received = loop {
                let mut buffer = writer.buffer();
                let count = match body.read(&mut buffer) {
                    Ok(0) => break Received::All,
                    Ok(count) => count,
                    Err(cause) => break Received::Part(cause),
                };
                if length + count as u64 > limit {
                    break Received::TooMuch;
                }
                failed = tap.write(&buffer[..count]).err();
                if failed.is_some() || !writer.write(buffer, count) {
                    break Received::All;
                }
                length += count as u64;
                progress.event(Event::Advanced {
                    task: *task,
                    bytes: length,
                });
            };
            writer.finish().map(|()| received)
        });
        self.tapped += length - before;
        self.received += length - before;
        match failed {
            Some(error) => Err(self.tap_failed(error)),
            None => received,
        }
    }

    /// Discards all bytes.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.partial.restart()?;
        self.restart_tap()?;
        self.advance();
        Ok(())
    }

    fn restart_tap(&mut self) -> Result<()> {
        self.sha512 = self.blob.sha512.map(|_| Hasher::sha512());
        if self.tapped > 0 {
            self.tap.restart().map_err(|error| self.tap_failed(error))?;
        }
        self.tapped = 0;
        Ok(())
    }

    fn tap_failed(&self, source: BoxError) -> Error {
        Error::Tap {
            what: self.blob.name.clone(),
            source,
        }
    }
}
