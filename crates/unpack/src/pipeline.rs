//! The two stages of unpacking and the bounded channel between them.
//!
//! The thread that calls [`Pipeline::write`] decodes. One worker hashes the decoded bytes, reads the archive and writes the tree. On
//! two cores this splits the work about evenly. Buffers are passed back and forth, so each decoded byte is used by one thread at a
//! time.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use box_cache::{Algorithm, Digest, Hasher};

use crate::archive::Archive;
use crate::decode::{Buffers, Decoder};
use crate::descriptors::reserve_descriptors;
use crate::entry::Problem;
use crate::error::Error;
use crate::limits::Limits;

/// Size of one buffer in bytes, and how many of them may wait for the worker: 1 MiB together. New memory is not free: each page of it
/// costs more than decoding a page.
const BUFFER: usize = 64 * 1024;
const WAITING: usize = 14;

/// How often a thread that waits for the worker checks whether the result is still wanted.
const GLANCE: Duration = Duration::from_millis(50);

/// The worker's result, with the digest and length of the stream.
pub(crate) struct Outcome<T> {
    pub result: T,
    /// Digest of the decoded stream, if one was requested.
    pub digest: Option<Digest>,
    /// Length of the decoded stream.
    pub decoded: u64,
}

/// An archive that the caller decodes and a worker thread unpacks.
pub(crate) struct Pipeline<T> {
    decoder: Decoder,
    buffers: Outgoing,
    worker: Option<JoinHandle<Result<Outcome<T>, Error>>>,
    /// Closed when the worker ends.
    ended: Receiver<()>,
    /// Tells the worker that its result is not wanted any more.
    stop: Arc<AtomicBool>,
}

enum Message {
    /// Decoded bytes: a buffer and how much of it is filled.
    Decoded(Vec<u8>, usize),
    /// The stream is damaged or exceeds a limit.
    Failed(Problem),
    /// The stream is complete.
    End,
}

impl<T: Send + 'static> Pipeline<T> {
    /// Starts the worker, which hashes if an `algorithm` is given. `work` reads the archive's members. The rest of the stream is
    /// drained after it.
    pub fn start<W>(
        limits: Limits,
        algorithm: Option<Algorithm>,
        work: W,
    ) -> Result<Pipeline<T>, Error>
    where
        W: FnOnce(&mut Archive<Decoded>) -> Result<T, Error> + Send + 'static,
    {
        reserve_descriptors();
        let (to_worker, from_decoder) = sync_channel(WAITING);
        let (used, spare) = sync_channel(WAITING + 2);
        let (ending, ended) = sync_channel(0);
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let archive_limits = limits.clone();
        let worker = std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || {
                let _ending = ending;
                let hasher = algorithm.map(Hasher::new);
                let decoded = Decoded {
                    from_decoder,
                    used,
                    stopped,
                    hasher,
                    decoded: 0,
                    buffer: Vec::new(),
                    filled: 0,
                    taken: 0,
                    ended: false,
                };
                let mut archive = Archive::new(decoded, archive_limits);
                let result = match work(&mut archive) {
                    Err(Error::Archive { position, problem }) => {
                        let damage = archive.reader_mut().damage_ahead();
                        let problem = damage.unwrap_or(problem);
                        return Err(Error::Archive { position, problem });
                    }
                    result => result?,
                };
                archive.drain()?;
                let Decoded {
                    hasher, decoded, ..
                } = archive.into_inner();
                let digest = hasher.map(Hasher::finish);
                Ok(Outcome {
                    result,
                    decoded,
                    digest,
                })
            });
        let worker =
            worker.map_err(|source| Error::io("start a thread for", "unpacking", source))?;
        let buffers = Outgoing {
            to_worker: Some(to_worker),
            spare,
            current: Vec::new(),
            filled: 0,
        };
        Ok(Pipeline {
            decoder: Decoder::new(limits),
            buffers,
            worker: Some(worker),
            ended,
            stop,
        })
    }

    /// Decodes the next bytes of the archive. A failure of either stage is returned once and ends the pipeline.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let decoded = self.decoder.write(bytes, &mut self.buffers);
        self.passed_on(decoded)
    }

    /// Ends the archive: calls `meanwhile`, and waits for the worker while its result is `wanted`. It may still have much to do: one
    /// buffer has room for the paths of a hundred thousand directories.
    pub fn finish(
        mut self,
        meanwhile: impl FnOnce(),
        mut wanted: impl FnMut() -> Result<(), Error>,
    ) -> Result<Outcome<T>, Error> {
        let decoded = self.decoder.finish(&mut self.buffers);
        self.passed_on(decoded)?;
        self.buffers.flush();
        self.buffers.send(Message::End);
        // Tells the worker that the stream has ended.
        self.buffers.to_worker = None;
        meanwhile();
        while let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(GLANCE) {
            wanted()?;
        }
        self.join()
    }

    /// Lets the worker report failures of the decoder, as it knows the current entry.
    fn passed_on(&mut self, decoded: Result<(), Problem>) -> Result<(), Error> {
        if let Err(problem) = decoded {
            self.buffers.flush();
            self.buffers.send(Message::Failed(problem));
        } else if self.buffers.to_worker.is_some() {
            return Ok(());
        }
        Err(self.join().err().unwrap_or(Error::Abandoned))
    }

    fn join(&mut self) -> Result<Outcome<T>, Error> {
        self.buffers.to_worker = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Error::Abandoned),
        }
    }
}

impl<T> Drop for Pipeline<T> {
    /// Ends the channel and waits: the worker's directory must not be removed while it works.
    fn drop(&mut self) {
        self.buffers.to_worker = None;
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // Its only error can be that it was abandoned.
            drop(worker.join());
        }
    }
}

/// The decoder's side of the channel.
struct Outgoing {
    /// None once the worker has ended.
    to_worker: Option<SyncSender<Message>>,
    spare: Receiver<Vec<u8>>,
    current: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    fn send(&mut self, message: Message) {
        let sent = self
            .to_worker
            .as_ref()
            .map(|to_worker| to_worker.send(message));
        if !matches!(sent, Some(Ok(()))) {
            self.to_worker = None;
        }
    }

    fn flush(&mut self) {
        if self.filled > 0 {
            let buffer = std::mem::take(&mut self.current);
            let filled = std::mem::take(&mut self.filled);
            self.send(Message::Decoded(buffer, filled));
        }
    }
}

impl Buffers for Outgoing {
    fn spare(&mut self) -> &mut [u8] {
        if self.current.is_empty() {
            self.current = self.spare.try_recv().unwrap_or_else(|_| vec![0; BUFFER]);
        }
        &mut self.current[self.filled..]
    }

    fn filled(&mut self, count: usize) {
        self.filled += count;
        if self.filled == self.current.len() {
            self.flush();
        }
    }

    fn is_open(&self) -> bool {
        self.to_worker.is_some()
    }
}

/// The worker's side of the channel: decoded bytes, hashed as they arrive.
pub(crate) struct Decoded {
    from_decoder: Receiver<Message>,
    used: SyncSender<Vec<u8>>,
    stopped: Arc<AtomicBool>,
    hasher: Option<Hasher>,
    decoded: u64,
    buffer: Vec<u8>,
    filled: usize,
    taken: usize,
    ended: bool,
}

impl Decoded {
    /// Returns the problem that the decoder finds within the next bytes, if any. It passes on the content of a damaged stream before
    /// it compares the checksum at the end of a block, which has up to 900 kB in bzip2. A problem of the archive before that point is
    /// meaningless.
    fn damage_ahead(&mut self) -> Option<Problem> {
        const BLOCK: usize = 1 << 20;
        let mut seen = 0;
        while seen < BLOCK {
            match self.from_decoder.recv() {
                Ok(Message::Decoded(_, filled)) => seen += filled,
                Ok(Message::Failed(problem)) => return Some(problem),
                Ok(Message::End) | Err(_) => return None,
            }
        }
        None
    }
}

impl BufRead for Decoded {
    /// Called for each header and each piece of content.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other(Error::Abandoned));
        }
        if self.taken == self.filled && !self.ended {
            match self.from_decoder.recv() {
                Ok(Message::Decoded(buffer, filled)) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&buffer[..filled]);
                    }
                    self.decoded += filled as u64;
                    let used = std::mem::replace(&mut self.buffer, buffer);
                    if !used.is_empty() {
                        // If the channel is full or closed, the buffer is not needed again.
                        self.used.try_send(used).unwrap_or_default();
                    }
                    (self.filled, self.taken) = (filled, 0);
                }
                Ok(Message::Failed(problem)) => return Err(io::Error::other(problem)),
                Ok(Message::End) => self.ended = true,
                Err(_) => return Err(io::Error::other(Error::Abandoned)),
            }
        }
        Ok(&self.buffer[self.taken..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
