//! Locks between processes: flock(2) on files that are never read.
//!
//! The kernel drops such a lock with its holder, so that a killed process leaves none behind. A lock belongs to the open
//! file: two taken in one process exclude each other like those of two processes.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::OFlags;

use crate::cache::beneath;
use crate::{Error, Layout, Result};
use box_host::is_unwritable;

/// Mode of the directory of locks. Whoever can open a lock file can lock it, and let everybody else wait.
pub(crate) const DIRECTORY_MODE: u32 = 0o700;

/// A lock that is held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing it unlocks.
    _file: File,
}

impl Lock {
    /// Waits for the lock that excludes all others.
    pub(crate) fn exclusive(layout: &Layout, path: &Path) -> Result<Lock> {
        let file = open(layout, path)?;
        retry(|| file.lock()).map_err(Error::io("lock", path))?;
        Ok(Lock { _file: file })
    }

    /// Waits for the lock that excludes only exclusive ones.
    fn shared(layout: &Layout, path: &Path) -> Result<Lock> {
        let file = open(layout, path)?;
        retry(|| file.lock_shared()).map_err(Error::io("lock", path))?;
        Ok(Lock { _file: file })
    }
}

fn open(layout: &Layout, path: &Path) -> Result<File> {
    let make = || {
        let flags = OFlags::RDWR | OFlags::CREATE;
        beneath::open(layout, path, flags, beneath::SHARED)
    };
    let opened = match make() {
        // A layout that another tool has made. Where the cache itself is missing, this fails and makes nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            beneath::make_directory(layout, &layout.locks(), DIRECTORY_MODE).and_then(|()| make())
        }
        // flock needs no right to write: on a read-only file system those who can only read lock each other all the same.
        Err(error) if is_unwritable(&error) => {
            beneath::open(layout, path, OFlags::RDONLY, 0).map_err(|_| error)
        }
        opened => opened,
    };
    opened.map_err(Error::io("open lock", path))
}

fn retry(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The right to rely on the cache's contents: while any process holds one, nothing is collected.
///
/// Whoever puts blobs in holds it from before the first blob is looked for or committed until the index names them; whoever starts
/// an instance holds it from finding the image until the instance is recorded. Hold it for milliseconds, not for a
/// download: the collector waits for it.
#[derive(Debug)]
#[must_use = "the cache may be collected once this is dropped"]
pub struct Hold {
    _lock: Option<Lock>,
}

impl Hold {
    /// Waits for a collector that is at work.
    pub(crate) fn shared(layout: &Layout) -> Result<Hold> {
        match Lock::shared(layout, &layout.collector_lock()) {
            Ok(lock) => Ok(Hold { _lock: Some(lock) }),
            // Where there can be no lock file, no collector can work either. Who may not lock another user's cache cannot keep
            // that user from collecting: what is gone then is told as missing.
            Err(Error::Io { source, .. })
                if is_unwritable(&source) || source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Hold { _lock: None })
            }
            Err(error) => Err(error),
        }
    }
}

impl From<Lock> for Hold {
    fn from(lock: Lock) -> Hold {
        Hold { _lock: Some(lock) }
    }
}
