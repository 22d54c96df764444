//! Starts writing a large tree to the disk while the rest of it is still being made.
//!
//! By itself the kernel starts to write after seconds, or after gigabytes of changed pages, which most layers never reach. Then the
//! sync before a tree is renamed waits for all of it at once.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Compressed bytes that are worth another round. The layers of most distributions' smallest images have fewer.
const EVERY: u64 = 16 << 20;

/// Compressed bytes that are worth a round at the end.
const WORTH: u64 = 1 << 20;

/// Makes the kernel write from time to time, in a thread that only waits. When dropped, it ends after the current round.
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
    /// Counts bytes of the archive. `open` opens a directory of the tree's file system for this purpose only: the kernel reports a write
    /// error once per open file, and the final sync has to see it.
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
            // One pending round is enough.
            ask.try_send(()).unwrap_or_default();
        }
    }

    /// Syncs in this thread after the last bytes, while the worker writes the rest of the tree. The final sync would wait for the same
    /// data.
    pub fn rest(&self, open: impl FnOnce() -> Option<OwnedFd>) {
        if self.taken >= WORTH
            && let Some(directory) = open()
        {
            // The final sync reports failures.
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
        // Without the thread, unpacking only takes longer.
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
            // It has no result.
            drop(thread.join());
        }
    }
}
