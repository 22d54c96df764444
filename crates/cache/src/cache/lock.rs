//! Locks between processes: flock(2) on files that are never read.
//!
//! The kernel releases such a lock when its holder dies, so a killed process leaves none behind. A lock belongs to the open
//! file: two locks of one process exclude each other like those of two processes.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::OFlags;

use crate::cache::beneath;
use crate::{Error, Layout, Result};
use box_host::is_unwritable;

/// Mode of the directory of locks. A user who can open a lock file can lock it, and keep everybody else waiting.
pub(crate) const DIRECTORY_MODE: u32 = 0o700;

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing it unlocks.
    _file: File,
}

impl Lock {
    /// Takes the lock exclusively, waiting for all other holders.
    pub(crate) fn exclusive(layout: &Layout, path: &Path) -> Result<Lock> {
        let file = open(layout, path)?;
        retry(|| file.lock()).map_err(Error::io("lock", path))?;
        Ok(Lock { _file: file })
    }

    /// Takes the lock shared, waiting for an exclusive holder.
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
        // Another tool made the layout. If the cache itself is missing, this fails and creates nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            beneath::make_directory(layout, &layout.locks(), DIRECTORY_MODE).and_then(|()| make())
        }
        // flock(2) needs no write access, so readers of a read-only file system can still lock each other out.
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

/// Keeps the cache's contents in place: while any process has one, nothing is collected.
///
/// A process that adds blobs has one from before it looks for or commits the first blob until the index names them. A process that
/// starts a container has one from finding the image until the container is recorded. Keep it for milliseconds, not for a
/// download: the collector waits for it.
#[derive(Debug)]
#[must_use = "the cache may be collected once this is dropped"]
pub struct Hold {
    _lock: Option<Lock>,
}

impl Hold {
    /// Waits for a running collector.
    pub(crate) fn shared(layout: &Layout) -> Result<Hold> {
        match Lock::shared(layout, &layout.collector_lock()) {
            Ok(lock) => Ok(Hold { _lock: Some(lock) }),
            // Where no lock file can exist, no collector can work either. In another user's cache that we may not lock, that user may
            // collect at any time; what is gone then is reported as missing.
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
