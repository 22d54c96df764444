//! The second thread of a download: what arrives is kept and hashed there, while the first one takes it apart. The two
//! digests and the writing take about half as long as inflating, and waiting for one another they would be the slowest
//! stage of a pull.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use box_cache::{Hasher, Partial};

use crate::error::{Error, Result};

/// Bytes of one buffer, and how many may wait: half a MiB together.
const BUFFER: usize = 64 << 10;
const WAITING: usize = 8;

/// The first thread's hold of the second.
pub(crate) struct Keeper<'scope> {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

impl<'scope> Keeper<'scope> {
    /// Starts it. What it is given is appended to `partial` and hashed by `sha512`, where there is one.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        partial: &'scope mut Partial,
        sha512: Option<&'scope mut Hasher>,
    ) -> Result<Self> {
        let (full, kept) = sync_channel::<(Vec<u8>, usize)>(WAITING);
        let (give_back, empty) = sync_channel(WAITING + 2);
        let mut sha512 = sha512;
        let keep = move || {
            for (buffer, count) in kept {
                partial.append(&buffer[..count])?;
                if let Some(hasher) = &mut sha512 {
                    hasher.update(&buffer[..count]);
                }
                // Nobody may want it any more.
                give_back.try_send(buffer).unwrap_or_default();
            }
            Ok(())
        };
        let thread = Builder::new().name("keep".to_owned());
        let thread = thread
            .spawn_scoped(scope, keep)
            .map_err(|source| Error::Io {
                action: "start a thread for",
                path: Path::new("the download").to_owned(),
                source,
            })?;
        Ok(Self {
            full,
            empty,
            thread,
        })
    }

    /// A buffer to be filled.
    pub fn buffer(&self) -> Vec<u8> {
        self.empty.try_recv().unwrap_or_else(|_| vec![0; BUFFER])
    }

    /// Keeps the first `count` bytes of a buffer. False: it has failed, and [`Keeper::finish`] says how.
    pub fn keep(&self, buffer: Vec<u8>, count: usize) -> bool {
        self.full.send((buffer, count)).is_ok()
    }

    /// Waits until all is kept.
    pub fn finish(self) -> Result<()> {
        drop(self.full);
        match self.thread.join() {
            Ok(kept) => kept,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
