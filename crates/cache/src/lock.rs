//! Locks between processes: flock(2) on files that are never read.
//!
//! The kernel drops such a lock with its holder, so that a killed process leaves none behind. A lock belongs to the open
//! file: two taken in one process exclude each other like those of two processes.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::{Error, Result};

/// A lock that is held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing it unlocks.
    _file: File,
}

impl Lock {
    /// Waits for the lock that excludes all others.
    pub(crate) fn exclusive(path: &Path) -> Result<Lock> {
        let file = open(path)?;
        retry(|| file.lock()).map_err(Error::io("lock", path))?;
        Ok(Lock { _file: file })
    }

    /// Waits for the lock that excludes only exclusive ones.
    pub(crate) fn shared(path: &Path) -> Result<Lock> {
        let file = open(path)?;
        retry(|| file.lock_shared()).map_err(Error::io("lock", path))?;
        Ok(Lock { _file: file })
    }
}

fn open(path: &Path) -> Result<File> {
    let make = || {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    let opened = match make() {
        // A layout that another tool has made. Where the cache itself is missing, this fails and makes nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match path.parent().map(std::fs::create_dir) {
                Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => make(),
            }
        }
        // flock needs no right to write: on a read-only file system those who can only read lock each other all the same.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            File::open(path).map_err(|_| error)
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
    pub(crate) fn shared(path: &Path) -> Result<Hold> {
        match Lock::shared(path) {
            Ok(lock) => Ok(Hold { _lock: Some(lock) }),
            // Where not even a lock file can be made, no collector can work either.
            Err(Error::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotFound
                ) =>
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
