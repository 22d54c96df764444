//! Progress of long work. Libraries send events; the caller decides how to show them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Receives events of work in progress, from any thread. Must not block for long, as the work waits meanwhile.
pub trait Progress: Send + Sync {
    /// Receives one event.
    fn event(&self, event: Event<'_>);
}

/// Identifies one task among those of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(u64);

impl TaskId {
    /// A new id, unique in this process.
    pub fn next() -> TaskId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TaskId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id as a number, for programs that read about it.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The kind of work of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Bytes are read from the network or from a file.
    Download,
    /// Bytes are sent to a registry.
    Upload,
    /// Stored bytes or a signature are verified.
    Verify,
    /// A layer is unpacked to a tree.
    Unpack,
    /// An image is written to an archive.
    Save,
    /// An image is read from an archive.
    Load,
}

/// One event. Texts may contain control characters: code that prints them must escape them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A task begins.
    Started {
        /// The task.
        task: TaskId,
        /// The kind of work.
        phase: Phase,
        /// The object of the work, for display.
        name: &'a str,
        /// The number of bytes to process, if known.
        total: Option<u64>,
    },
    /// A task has advanced.
    Advanced {
        /// The task.
        task: TaskId,
        /// All bytes so far, including those that an earlier attempt left.
        bytes: u64,
    },
    /// A task ended.
    Finished {
        /// The task.
        task: TaskId,
        /// Whether all of it was done; not so if it failed.
        complete: bool,
    },
    /// Another process already does the work, or holds a lock. Sent once when the wait begins.
    Waiting {
        /// The task that waits.
        task: TaskId,
        /// The object of the wait, for display.
        name: &'a str,
    },
    /// Something that is out of order, although the work goes on: a mirror that fails.
    Warning {
        /// One line.
        text: &'a str,
    },
    /// Something worth knowing that is not a failure: a retry, an unsigned release.
    Note {
        /// One line.
        text: &'a str,
    },
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn event(&self, _: Event<'_>) {}
}
