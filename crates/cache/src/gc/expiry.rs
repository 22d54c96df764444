//! Downloads that were broken off and that nobody came back to.

use std::io;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use crate::blob::partial::{ANONYMOUS, is_same, remove, state_path};
use crate::cache::beneath;
use crate::cache::survey::{StoredFile, files};
use crate::{Cache, Error, Layout, Result};

/// For how long broken-off downloads are kept to be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Those that have not grown for longer are deleted.
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
    /// Deletes broken-off downloads that have expired, and returns them. Those that a process is at are left alone.
    /// Cheap where there is little in `partial/`, so that every pull can do it in passing.
    pub fn expire_downloads(&self, expiry: &Expiry) -> Result<Vec<StoredFile>> {
        self.expired(expiry)?
            .into_iter()
            .filter_map(|file| delete_unlocked(self.layout(), file).transpose())
            .collect()
    }

    /// The downloads that have expired, whether a process is at them or not.
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
            // What tells the origin of a download goes with it.
            let orphan = file.path.extension().is_some() && !file.path.with_extension("").exists();
            kept += file.bytes;
            anonymous || orphan || file.modified < oldest || kept > expiry.bytes
        });
        Ok(downloads)
    }
}

/// Deletes a download that nobody is at; none where somebody is or it is gone.
fn delete_unlocked(layout: &Layout, file: StoredFile) -> Result<Option<StoredFile>> {
    let path = &file.path;
    let opened = match beneath::open(layout, path, OFlags::RDONLY, 0) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    if path.extension().is_some() {
        // The state of a download: its own lock is that of the download.
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
