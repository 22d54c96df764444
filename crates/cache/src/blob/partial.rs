//! Downloads in progress: files in `partial/` that one process at a time fills, that outlive it, and that become blobs.
//!
//! The process that fills a file has it locked. Others wait for the lock and can watch the file grow. When they get the lock, the
//! file has either become a blob or is theirs to resume. Beside it, `<name>.json` says where its bytes came from, so that the rest
//! can be requested from the same version of the same file.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::blob::BLOB_MODE;
use crate::cache::beneath;
use crate::{Cache, Digest, Error, Hasher, Hold, Layout, Result};

/// Prefix of the names of downloads that cannot be resumed.
pub(crate) const ANONYMOUS: &str = "anonymous-";

/// How often a waiting process looks at a download.
const POLL: Duration = Duration::from_millis(50);

/// Identifies a download across processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartialKey {
    /// The digest that the complete file must have. Its bytes may come from anywhere.
    Digest(Digest),
    /// The URL it comes from, if the digest is not known beforehand.
    Source(String),
    /// Nothing: the bytes cannot be requested again, like those of a pipe. Deleted when dropped.
    Anonymous,
}

/// The result of [`Cache::partial`].
#[derive(Debug)]
pub enum Claim {
    /// The blob with the key's digest is in the cache and has this many bytes. Unless the caller has a [`Hold`], a collector may
    /// delete it.
    Present(u64),
    /// The caller is to fetch it.
    Partial(Box<Partial>),
}

/// Where the bytes of a download came from, for a conditional request (RFC 9110, `If-Range`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The URL, without credentials.
    pub url: String,
    /// The `ETag` header as sent.
    pub etag: Option<String>,
    /// The `Last-Modified` header as sent.
    pub last_modified: Option<String>,
    /// The size of the complete file, if the server sent it.
    pub size: Option<u64>,
}

/// The expected digest and size of the complete file. `None` is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its SHA-256 digest.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// Called repeatedly while the caller waits, with the number of bytes that another process has fetched so far. `Break` gives up.
pub type Watch<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// A download that only the caller fills. When dropped, it stays on disk for the next attempt.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    state: PathBuf,
    layout: Layout,
    hasher: Hasher,
    length: u64,
    origin: Option<Origin>,
    anonymous: bool,
    finished: bool,
}

/// A verified download that is not a blob yet.
#[derive(Debug)]
pub struct Whole {
    partial: Partial,
    digest: Digest,
}

impl Cache {
    /// Claims a download, waiting while another process has it.
    ///
    /// # Errors
    /// [`Error::Locked`] if `watch` gave up.
    pub fn partial(&self, key: &PartialKey, watch: Watch<'_>) -> Result<Claim> {
        let path = self.layout().partial().join(key.file_name());
        loop {
            if let PartialKey::Digest(digest) = key
                && let Some(size) = self.has_blob(digest)?
            {
                return Ok(Claim::Present(size));
            }
            let flags = OFlags::RDWR | OFlags::CREATE;
            let opened = beneath::open(self.layout(), &path, flags, beneath::PRIVATE);
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    unseal(self.layout(), &path, watch, error)?;
                    continue;
                }
                opened => opened.map_err(Error::io("open", &path))?,
            };
            wait(&file, &path, watch)?;
            // Its last owner may have made it a blob or deleted it meanwhile. Then the lock is on a file that has lost this name.
            if is_same(&file, &path)? {
                return Partial::open(self.layout(), file, path, *key == PartialKey::Anonymous)
                    .map(|partial| Claim::Partial(Box::new(partial)));
            }
        }
    }
}

impl PartialKey {
    fn file_name(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match self {
            PartialKey::Digest(digest) => {
                format!("{}-{}", digest.algorithm().as_str(), digest.hex())
            }
            PartialKey::Source(url) => format!("source-{}", Digest::of(url.as_bytes()).hex()),
            PartialKey::Anonymous => {
                format!(
                    "{ANONYMOUS}{}-{}",
                    std::process::id(),
                    NEXT.fetch_add(1, Ordering::Relaxed)
                )
            }
        }
    }
}

impl Partial {
    fn open(layout: &Layout, file: File, path: PathBuf, anonymous: bool) -> Result<Partial> {
        let metadata = file.metadata().map_err(Error::io("look up", &path))?;
        // A hard link may be another user's file, which must neither be changed nor made readable.
        if !metadata.is_file() || metadata.nlink() > 1 {
            let reason = io::Error::other("it is not a regular file with one name");
            return Err(Error::io("continue the download", &path)(reason));
        }
        let length = metadata.len();
        let state = state_path(&path);
        // An unreadable origin is an unknown one: all bytes are verified anyway.
        let origin = fs::read(&state)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut partial = Partial {
            file,
            path,
            state,
            layout: layout.clone(),
            hasher: Hasher::sha256(),
            length,
            origin,
            anonymous,
            finished: false,
        };
        if anonymous {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where they came from, as the last attempt noted.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Notes where the bytes come from, for the next attempt.
    pub fn set_origin(&mut self, origin: Origin) -> Result<()> {
        let text = serde_json::json!(origin).to_string();
        beneath::replace(&self.layout, &self.state, text.as_bytes())
            .map_err(Error::io("write", &self.state))?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Reads the bytes so far from the beginning and passes them to `each`. If this is not called, the first write reads them for
    /// their digest alone.
    pub fn replay(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<()> {
        self.hasher = Hasher::sha256();
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Error::io("seek in", &self.path))?;
        let mut buffer = vec![0; 128 * 1024];
        while self.hasher.bytes() < self.length {
            let count = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            };
            self.hasher.update(&buffer[..count]);
            each(&buffer[..count]).map_err(Error::io("pass on", &self.path))?;
        }
        self.length = self.hasher.bytes();
        Ok(())
    }

    /// Discards the bytes so far and their origin.
    pub fn restart(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .map_err(Error::io("truncate", &self.path))?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Error::io("seek in", &self.path))?;
        self.hasher = Hasher::sha256();
        self.length = 0;
        self.origin = None;
        remove(&self.layout, &self.state)?;
        Ok(())
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.hasher.bytes() != self.length {
            self.replay(&mut |_| Ok(()))?;
        }
        if let Err(error) = self.file.write_all(bytes) {
            // Some of them may have been written. Truncate to what was counted, or let the next append read the file again.
            let cut = self
                .file
                .set_len(self.length)
                .and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            if cut.is_err() {
                self.hasher = Hasher::sha256();
            }
            return Err(Error::io("write", &self.path)(error));
        }
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Verifies, syncs and names the bytes as a blob, and returns its digest. The name is synced when an image that needs it is
    /// published.
    ///
    /// # Errors
    /// Those of [`Partial::check`].
    pub fn commit(self, cache: &Cache, hold: &Hold, expected: &Expected) -> Result<Digest> {
        let whole = self.check(expected)?;
        whole.sync()?;
        whole.name(cache, hold)
    }

    /// Verifies the bytes.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] and [`Error::DigestMismatch`], after which the bytes are deleted, as resuming would be useless. After
    /// any other error they stay.
    pub fn check(mut self, expected: &Expected) -> Result<Whole> {
        if self.hasher.bytes() != self.length {
            self.replay(&mut |_| Ok(()))?;
        }
        let what = || {
            self.origin.as_ref().map_or_else(
                || self.path.display().to_string(),
                |origin| origin.url.clone(),
            )
        };
        let actual = self.hasher.clone().finish();
        let wrong = match (expected.size, expected.digest) {
            (Some(size), _) if size != self.length => Some(Error::SizeMismatch {
                what: what(),
                expected: size,
                actual: self.length,
            }),
            (_, Some(digest)) if digest != actual => {
                Some(Error::digest_mismatch(what(), digest, actual))
            }
            _ => None,
        };
        if let Some(error) = wrong {
            self.discard()?;
            return Err(error);
        }
        self.file
            .set_permissions(Permissions::from_mode(BLOB_MODE))
            .map_err(Error::io("change mode of", &self.path))?;
        Ok(Whole {
            digest: actual,
            partial: self,
        })
    }

    /// The SHA-256 digest of the bytes so far.
    pub fn digest(&mut self) -> Result<Digest> {
        if self.hasher.bytes() != self.length {
            self.replay(&mut |_| Ok(()))?;
        }
        Ok(self.hasher.clone().finish())
    }

    /// Opens the bytes so far again, to be read from the beginning.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.path).map_err(Error::io("open", &self.path))
    }

    /// Deletes the bytes.
    pub fn discard(mut self) -> Result<()> {
        self.finished = true;
        remove(&self.layout, &self.state)?;
        remove(&self.layout, &self.path)?;
        Ok(())
    }
}

impl Whole {
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.partial.length
    }

    pub(crate) fn sync(&self) -> Result<()> {
        let path = &self.partial.path;
        let synced = self.partial.file.sync_all();
        synced.map_err(Error::io("sync", path))
    }

    /// Names the bytes, which must be synced, by their digest.
    pub(crate) fn name(mut self, cache: &Cache, _hold: &Hold) -> Result<Digest> {
        let blob = cache.layout().blob(&self.digest);
        beneath::rename(cache.layout(), &self.partial.path, &blob)
            .map_err(Error::io("rename a download to", &blob))?;
        self.partial.finished = true;
        remove(cache.layout(), &self.partial.state)?;
        Ok(self.digest)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.anonymous
            && !self.finished
            && let Err(error) = remove(&self.layout, &self.path)
        {
            tracing::debug!(%error, "an unfinished download stays until the next collection");
        }
    }
}

/// The file beside a download that has its origin.
pub(crate) fn state_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Whether an open file still has its name.
pub(crate) fn is_same(file: &File, path: &Path) -> Result<bool> {
    let opened = file.metadata().map_err(Error::io("look up", path))?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look up", path)(error)),
    }
}

/// Makes a download writable again whose process was killed between giving it a blob's mode and a blob's name. Waits for a process
/// that is about to name it: that blob must keep its mode.
fn unseal(layout: &Layout, path: &Path, watch: Watch<'_>, denied: io::Error) -> Result<()> {
    let file = match beneath::open(layout, path, OFlags::RDONLY, 0) {
        // It was named or deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return Err(Error::io("open", path)(denied)),
        Ok(file) => file,
    };
    wait(&file, path, watch)?;
    if !is_same(&file, path)? {
        return Ok(());
    }
    let mode = file
        .metadata()
        .map_err(Error::io("look up", path))?
        .permissions()
        .mode();
    // If its mode allows writing, it was refused for another reason. A file that is not ours refuses the change of its mode.
    if mode & 0o200 != 0 || file.set_permissions(Permissions::from_mode(0o600)).is_err() {
        return Err(Error::io("open", path)(denied));
    }
    Ok(())
}

fn wait(file: &File, path: &Path, watch: Watch<'_>) -> Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
            Err(TryLockError::WouldBlock) => {
                let length = file.metadata().map_err(Error::io("look up", path))?.len();
                if watch(length).is_break() {
                    return Err(Error::Locked {
                        path: path.to_path_buf(),
                    });
                }
                thread::sleep(POLL);
            }
        }
    }
}

/// Deletes a file if it exists. Returns whether it did.
pub(crate) fn remove(layout: &Layout, path: &Path) -> Result<bool> {
    beneath::remove(layout, path).map_err(Error::io("delete", path))
}
