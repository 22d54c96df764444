//! The second thread of a download: it keeps and hashes what arrives, while the first one feeds the tap. The two digests
//! and the writing take about half as long as inflating a layer; on one thread, they would add to it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use box_cache::{Hasher, Partial};

use crate::error::{Error, Result};

/// Size of one buffer in bytes, and the number that may wait: half a MiB together.
const BUFFER: usize = 64 << 10;
const WAITING: usize = 8;

/// The first thread's handle of the second.
pub(super) struct Writer<'scope> {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

impl<'scope> Writer<'scope> {
    /// Starts the thread, which appends to `partial`, and updates `sha512` if there is one.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        partial: &'scope mut Partial,
        sha512: Option<&'scope mut Hasher>,
    ) -> Result<Self> {
        let (full, filled) = sync_channel::<(Vec<u8>, usize)>(WAITING);
        let (give_back, empty) = sync_channel(WAITING + 2);
        let mut sha512 = sha512;
        let write = move || {
            for (buffer, count) in filled {
                partial.append(&buffer[..count])?;
                if let Some(hasher) = &mut sha512 {
                    hasher.update(&buffer[..count]);
                }
                // Fails when the first thread has ended already, and needs no buffers any more.
                give_back.try_send(buffer).unwrap_or_default();
            }
            Ok(())
        };
        let thread = Builder::new().name("download".to_owned());
        let thread = thread
            .spawn_scoped(scope, write)
            .map_err(Error::io("start a thread for", "the download"))?;
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

    /// Writes the first `count` bytes of a buffer. `false` means that the thread has failed, and [`Writer::finish`] returns
    /// the reason.
    pub fn write(&self, buffer: Vec<u8>, count: usize) -> bool {
        self.full.send((buffer, count)).is_ok()
    }

    /// Waits until all bytes are written.
    pub fn finish(self) -> Result<()> {
        drop(self.full);
        match self.thread.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
