//! A large tree on its way to the disk while the rest of it is still being made.
//!
//! Left alone the kernel begins to write when it has seconds' worth or gigabytes of changed pages, which for most layers is
//! never, and the sync before a tree gets its name waits for all of it at once.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Packed bytes that are worth another round. Layers of most distributions' smallest images stay below.
const EVERY: u64 = 16 << 20;

/// Packed bytes that are worth a round at the end.
const WORTH: u64 = 1 << 20;

/// Asks the kernel to write, now and then, in a thread that only waits. Dropped, it ends with the round it is in.
#[derive(Default)]
pub(crate) struct Writeback {
    taken: u64,
    worker: Option<Worker>,
}

struct Worker {
    ask: Option<SyncSender<()>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writeback {
    /// So many bytes of the archive were taken. `open` opens a directory of the tree's file system; not one that is used for
    /// anything else, as a failure to write is told once to each open file, and is the last sync's to tell.
    pub fn took(&mut self, bytes: usize, open: impl FnOnce() -> Option<OwnedFd>) {
        self.taken += bytes as u64;
        if self.taken < EVERY {
            return;
        }
        self.taken = 0;
        if self.worker.is_none() {
            self.worker = open().and_then(Worker::start);
        }
        if let Some(ask) = self.worker.as_ref().and_then(|worker| worker.ask.as_ref()) {
            // One round that waits is enough.
            ask.try_send(()).unwrap_or_default();
        }
    }

    /// All was taken, and the last of it is being made: what is there goes to the disk meanwhile, in this thread, which has
    /// nothing else to do. The last sync would wait for as much.
    pub fn rest(&self, open: impl FnOnce() -> Option<OwnedFd>) {
        if self.taken >= WORTH
            && let Some(directory) = open()
        {
            // The last sync tells of what fails.
            rustix::fs::syncfs(&directory).unwrap_or_default();
        }
    }
}

impl Worker {
    fn start(directory: OwnedFd) -> Option<Worker> {
        let (ask, asked) = sync_channel(1);
        let over = Arc::<AtomicBool>::default();
        let ended = over.clone();
        let work = move || {
            while asked.recv().is_ok() && !ended.load(Ordering::Relaxed) {
                if rustix::fs::syncfs(&directory).is_err() {
                    return;
                }
            }
        };
        // Without a thread it only takes longer.
        let thread = std::thread::Builder::new().name("writeback".to_owned());
        let thread = thread.spawn(work).ok()?;
        Some(Worker {
            ask: Some(ask),
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            drop(thread.join());
        }
    }
}
