//! Downloads in flight: files in `partial/` that one process fills at a time, that outlive it, and that become blobs.
//!
//! The file itself is locked by who fills it. Others wait for the lock and can watch the file grow; when they get it,
//! the file is either a blob by then, or theirs to continue. Beside it, `<name>.json` tells where its bytes came from,
//! so that the rest can be asked for from the same version of the same file.

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

/// Names of downloads that cannot be continued begin so.
pub(crate) const ANONYMOUS: &str = "anonymous-";

/// How often who waits for a download looks at it.
const POLL: Duration = Duration::from_millis(50);

/// What a download is known by from one process to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartialKey {
    /// The digest that the whole must have. Its bytes may come from anywhere.
    Digest(Digest),
    /// The URL it comes from, where the digest is not known beforehand.
    Source(String),
    /// Nothing: the bytes cannot be asked for again, as those of a pipe. Deleted when dropped.
    Anonymous,
}

/// The turn at a download.
#[derive(Debug)]
pub enum Claim {
    /// The blob with the key's digest is in the cache, of this many bytes. Unless the caller has a [`Hold`], a
    /// collector may take it away again.
    Present(u64),
    /// The caller is the one to fetch it.
    Partial(Box<Partial>),
}

/// Where the bytes of a download came from, for a conditional request (RFC 9110, `If-Range`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The URL, without credentials.
    pub url: String,
    /// The `ETag` header as it was sent.
    pub etag: Option<String>,
    /// The `Last-Modified` header as it was sent.
    pub last_modified: Option<String>,
    /// The bytes of the whole file, as far as the server told.
    pub size: Option<u64>,
}

/// What the whole must be to become a blob. What is none is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its SHA-256 digest.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// Called with the number of bytes that another process has fetched so far, again and again while the caller waits.
/// `Break` gives up.
pub type Watch<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// A download that the caller alone fills. Dropped, it stays on disk for the next try.
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

/// A download that is what it should be, and no blob yet.
#[derive(Debug)]
pub struct Whole {
    partial: Partial,
    digest: Digest,
}

impl Cache {
    /// Takes the turn at a download, waiting while another process has it.
    ///
    /// # Errors
    /// [`Error::Locked`] where `watch` gave up.
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
            // Who had it may have made a blob of it or deleted it meanwhile: then the lock is on a file without this name.
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
        // A hard link would be a file of somebody else's, which must be neither changed nor made readable for all.
        if !metadata.is_file() || metadata.nlink() > 1 {
            let reason = io::Error::other("it is no file of its own");
            return Err(Error::io("continue the download", &path)(reason));
        }
        let length = metadata.len();
        let state = state_path(&path);
        // What cannot be read is not known: the bytes are verified as a whole anyway.
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

    /// The number of bytes that are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where they came from, as the last try noted it.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Notes where the bytes come from, for the next try.
    pub fn set_origin(&mut self, origin: Origin) -> Result<()> {
        let text = serde_json::json!(origin).to_string();
        beneath::replace(&self.layout, &self.state, text.as_bytes())
            .map_err(Error::io("write", &self.state))?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Reads the bytes that are there from the beginning and hands them to `each`. Without it, the first write reads
    /// them for their digest alone.
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
            each(&buffer[..count]).map_err(Error::io("hand on", &self.path))?;
        }
        self.length = self.hasher.bytes();
        Ok(())
    }

    /// Throws away the bytes that are there and what is known of their origin.
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
            // Some of them may have been written. What is on disk is what was counted, or the next append replays it.
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

    /// Makes the bytes a blob and returns its digest: checked, then brought to the disk, then named. The name itself is on
    /// the disk when an image that needs it is published.
    ///
    /// # Errors
    /// As [`Partial::check`].
    pub fn commit(self, cache: &Cache, hold: &Hold, expected: &Expected) -> Result<Digest> {
        let whole = self.check(expected)?;
        whole.sync()?;
        whole.name(cache, hold)
    }

    /// Checks that the bytes are what they should be.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] and [`Error::DigestMismatch`], after which the bytes are gone, as there is no use in
    /// continuing them. After any other error they stay.
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

    /// The SHA-256 digest of the bytes that are there.
    pub fn digest(&mut self) -> Result<Digest> {
        if self.hasher.bytes() != self.length {
            self.replay(&mut |_| Ok(()))?;
        }
        Ok(self.hasher.clone().finish())
    }

    /// Opens the bytes that are there once more, to be read from the beginning.
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

    /// Gives the bytes, which must be on the disk, the name of their digest.
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

/// The file beside a download that tells its origin.
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

/// Makes a download writable again that was killed between getting a blob's mode and a blob's name. Who is just
/// naming it is waited for: its blob must keep its mode.
fn unseal(layout: &Layout, path: &Path, watch: Watch<'_>, denied: io::Error) -> Result<()> {
    let file = match beneath::open(layout, path, OFlags::RDONLY, 0) {
        // Named or deleted meanwhile.
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
    // Where it is writable by its mode, it is refused for another reason; so is the change of the mode where it is not ours.
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

/// Deletes a file that may be gone already; whether it was there.
pub(crate) fn remove(layout: &Layout, path: &Path) -> Result<bool> {
    beneath::remove(layout, path).map_err(Error::io("delete", path))
}
