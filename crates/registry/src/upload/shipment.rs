//! All that makes an image, sent in an order in which nothing is ever half there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use box_cache::{Event, Phase, Progress, TaskId};

use super::blob::{Arrival, BlobFile};
use crate::repository::{Repository, Wanted};
use crate::{Document, Result};

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(100);

/// What is pushed.
#[derive(Debug)]
pub struct Shipment<'a> {
    /// The blobs, each once.
    pub blobs: Vec<BlobFile<'a>>,
    /// The paths of repositories of the same registry that may have them, by blob.
    pub mount_from: Vec<Vec<String>>,
    /// The manifests, and last the document that gets the tag.
    pub documents: Vec<Document>,
    /// The tag; without it, the last document can be found by its digest only.
    pub tag: Option<&'a str>,
}

/// What was pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The number of blobs that were sent.
    pub sent: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The number of blobs that were there already.
    pub present: usize,
    /// The number of blobs that the registry had in another repository.
    pub mounted: usize,
}

impl Repository<'_> {
    /// Sends blobs, up to `jobs` at a time, then documents, the tagged one last.
    pub fn push(&self, shipment: &Shipment<'_>, jobs: usize) -> Result<Pushed> {
        let pushed = self.push_blobs(shipment, jobs.max(1))?;
        for (number, document) in shipment.documents.iter().enumerate() {
            let is_last = number + 1 == shipment.documents.len();
            match shipment.tag.filter(|_| is_last) {
                Some(tag) => self.put_manifest(Wanted::Tag(tag), document)?,
                None => self.put_manifest(Wanted::Digest(&document.digest), document)?,
            }
        }
        Ok(pushed)
    }

    fn push_blobs(&self, shipment: &Shipment<'_>, jobs: usize) -> Result<Pushed> {
        let next = AtomicUsize::new(0);
        let over = AtomicBool::new(false);
        let pushed = Mutex::new(Ok(Pushed::default()));
        let work = || {
            while !over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(blob) = shipment.blobs.get(number) else {
                    break;
                };
                let from = shipment.mount_from.get(number);
                let arrived = self.reported(blob, from.map_or(&[], Vec::as_slice));
                let mut pushed = pushed.lock().unwrap_or_else(PoisonError::into_inner);
                match (arrived, pushed.as_mut()) {
                    (Ok(arrival), Ok(pushed)) => pushed.count(&arrival, blob.size),
                    (Err(error), Ok(_)) => {
                        over.store(true, Ordering::Relaxed);
                        *pushed = Err(error);
                    }
                    // The first failure is the one to report.
                    (_, Err(_)) => {}
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs.min(shipment.blobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        pushed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uploads a blob, and reports how far it is, from the moment when its bytes are sent.
    fn reported(&self, blob: &BlobFile<'_>, from: &[String]) -> Result<Arrival> {
        let report = Mutex::new(Report {
            progress: self.session.progress,
            task: TaskId::next(),
            last: None,
        });
        let over = Mutex::new(false);
        let ended = Condvar::new();
        let arrived = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut is_over = over.lock().unwrap_or_else(PoisonError::into_inner);
                while !*is_over {
                    let waited = ended.wait_timeout(is_over, TICK);
                    is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    report.advance(blob);
                }
            });
            let arrived = self.upload(blob, from);
            *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ended.notify_all();
            arrived
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.advance(blob);
        report.end(arrived.is_ok());
        arrived
    }
}

/// What was reported of an upload.
struct Report<'a> {
    progress: &'a dyn Progress,
    task: TaskId,
    /// The number of bytes that was reported last.
    last: Option<u64>,
}

impl Report<'_> {
    fn advance(&mut self, blob: &BlobFile<'_>) {
        if !blob.sent.has_begun() {
            return;
        }
        let task = self.task;
        if self.last.is_none() {
            let hex = blob.digest.hex();
            self.progress.event(Event::Started {
                task,
                phase: Phase::Upload,
                name: hex.get(..12).unwrap_or(&hex),
                total: Some(blob.size),
            });
        }
        let bytes = blob.sent.bytes();
        if self.last != Some(bytes) {
            self.progress.event(Event::Advanced { task, bytes });
            self.last = Some(bytes);
        }
    }

    fn end(&self, complete: bool) {
        if self.last.is_some() {
            let task = self.task;
            self.progress.event(Event::Finished { task, complete });
        }
    }
}

impl Pushed {
    fn count(&mut self, arrival: &Arrival, size: u64) {
        match arrival {
            Arrival::Present => self.present += 1,
            Arrival::Mounted(_) => self.mounted += 1,
            Arrival::Sent => {
                self.sent += 1;
                self.bytes += size;
            }
        }
    }
}
