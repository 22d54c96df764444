//! What long work tells while it goes on. Libraries send events; who draws them is the caller's business.

use std::sync::atomic::{AtomicU64, Ordering};

/// Takes the events of work in progress, from any thread. Must not block for long: the work waits meanwhile.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Identifies one task among those of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(u64);

impl TaskId {
    /// An id that no other task of this process has.
    pub fn next() -> TaskId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TaskId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What kind of work a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Bytes come over the network or from a file.
    Download,
    /// Bytes on disk or a signature are checked.
    Verify,
    /// A layer becomes a tree.
    Unpack,
    /// An image is written to an archive.
    Save,
    /// An image is read from an archive.
    Load,
}

/// One piece of news. Texts are free of control characters only as far as their sender made them so; who prints them
/// escapes them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A task begins.
    Started {
        /// The task.
        task: TaskId,
        /// The kind of work.
        phase: Phase,
        /// What is worked on, for people.
        name: &'a str,
        /// How many bytes there are to do, where that is known.
        total: Option<u64>,
    },
    /// A task has come this far.
    Advanced {
        /// The task.
        task: TaskId,
        /// All bytes done so far, including those that an earlier try left behind.
        bytes: u64,
    },
    /// A task is over, well or badly.
    Finished {
        /// The task.
        task: TaskId,
    },
    /// Another process does the work already, or holds a lock; sent once when the waiting begins.
    Waiting {
        /// The task that waits.
        task: TaskId,
        /// What is waited for, for people.
        name: &'a str,
    },
    /// Something worth knowing that is no failure: a retry, another mirror, an unsigned release.
    Note {
        /// One line.
        text: &'a str,
    },
}

/// Lets all events pass unseen.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn event(&self, _: Event<'_>) {}
}
