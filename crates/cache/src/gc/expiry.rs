//! Interrupted downloads that were never resumed.

use std::io;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use crate::blob::partial::{ANONYMOUS, is_same, remove, state_path};
use crate::cache::beneath;
use crate::cache::survey::{StoredFile, files};
use crate::{Cache, Error, Layout, Result};

/// How long interrupted downloads are kept, to be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Downloads that have not grown for longer are deleted.
    pub age: Duration,
    /// Of the others, the oldest are deleted until all take no more than this many bytes.
    pub bytes: u64,
}

impl Default for Expiry {
    /// Seven days and 8 GiB.
    fn default() -> Expiry {
        Expiry {
            age: Duration::from_secs(7 * 24 * 3600),
            bytes: 8 << 30,
        }
    }
}

impl Cache {
    /// Deletes interrupted downloads that have expired, and returns them. Downloads in progress are left alone. Cheap if there is
    /// little in `partial/`, so that every pull can do it in passing.
    pub fn expire_downloads(&self, expiry: &Expiry) -> Result<Vec<StoredFile>> {
        self.expired(expiry)?
            .into_iter()
            .filter_map(|file| delete_unlocked(self.layout(), file).transpose())
            .collect()
    }

    /// The expired downloads, in progress or not.
    pub(crate) fn expired(&self, expiry: &Expiry) -> Result<Vec<StoredFile>> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let oldest = i64::try_from(now.saturating_sub(expiry.age).as_secs()).unwrap_or(i64::MAX);
        let mut downloads = files(&self.layout().partial())?;
        downloads.retain(|file| !file.is_staged());
        downloads.sort_by_key(|file| std::cmp::Reverse(file.modified));
        let mut kept = 0;
        downloads.retain(|file| {
            let name = file.path.file_name().unwrap_or_default();
            let anonymous = name.as_encoded_bytes().starts_with(ANONYMOUS.as_bytes());
            // The file with a download's origin is deleted with it.
            let orphan = file.path.extension().is_some() && !file.path.with_extension("").exists();
            kept += file.bytes;
            anonymous || orphan || file.modified < oldest || kept > expiry.bytes
        });
        Ok(downloads)
    }
}

/// Deletes a download unless it is in progress. None if it is, or if it is gone.
fn delete_unlocked(layout: &Layout, file: StoredFile) -> Result<Option<StoredFile>> {
    let path = &file.path;
    let opened = match beneath::open(layout, path, OFlags::RDONLY, 0) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    if path.extension().is_some() {
        // A file with a download's origin is protected by the lock of that download.
        let download = path.with_extension("");
        if download.exists() {
            return Ok(None);
        }
    } else if opened.try_lock().is_err() || !is_same(&opened, path)? {
        return Ok(None);
    }
    if path.extension().is_none() {
        remove(layout, &state_path(path))?;
    }
    let deleted = remove(layout, path)?;
    Ok(deleted.then_some(file))
}
