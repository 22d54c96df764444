//! Blobs: files named by the digest of their bytes.

pub(crate) mod audit;
pub(crate) mod partial;
pub(crate) mod staging;
pub(crate) mod verify;

use std::fs::{self, File};
use std::io::{self, Read};

use crate::blob::staging::StagedFile;
use crate::cache::replace::sync_directory;
use crate::image::MAX_DOCUMENT;
use crate::{Algorithm, Cache, Digest, Error, Hasher, Hold, Result, VerifiedReader};

/// Mode of a blob's file: it is never written again.
pub(crate) const BLOB_MODE: u32 = 0o444;

impl Cache {
    /// The size of a blob in bytes, if it is in the cache. Its bytes are not read.
    pub fn has_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.layout().blob(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look up blob", &path)(error)),
        }
    }

    /// The bytes of a manifest, an index or a config, verified.
    ///
    /// # Errors
    /// [`Error::MissingBlob`], and those of damage.
    pub fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        match self.has_blob(digest)? {
            Some(size) => self.read_blob(digest, size, MAX_DOCUMENT),
            None => Err(Error::missing_blob(*digest, self.layout().blob(digest))),
        }
    }

    /// Opens a blob to read it once while verifying it; see [`VerifiedReader::finish`].
    pub fn open_blob(&self, digest: &Digest) -> Result<VerifiedReader<File>> {
        let path = self.layout().blob(digest);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::missing_blob(*digest, path.clone()),
            _ => Error::io("open blob", &path)(source),
        })?;
        let size = file
            .metadata()
            .map_err(Error::io("look up blob", &path))?
            .len();
        Ok(VerifiedReader::new(
            file,
            path.display().to_string(),
            *digest,
            size,
        ))
    }

    /// The bytes of a small blob, verified.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than `limit` bytes, [`Error::SizeMismatch`] and [`Error::DigestMismatch`] for damage.
    pub(crate) fn read_blob(&self, digest: &Digest, size: u64, limit: u64) -> Result<Vec<u8>> {
        let path = self.layout().blob(digest);
        if size > limit {
            return Err(Error::TooLarge {
                what: path.display().to_string(),
                limit,
            });
        }
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::missing_blob(*digest, path.clone()),
            _ => Error::io("open blob", &path)(source),
        })?;
        // Room for one more byte than expected, so that one system call reads everything and shows that there is no more.
        let mut bytes = Vec::with_capacity(usize::try_from(size + 1).unwrap_or(usize::MAX));
        file.take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read blob", &path))?;
        if bytes.len() as u64 != size {
            return Err(Error::SizeMismatch {
                what: path.display().to_string(),
                expected: size,
                actual: bytes.len() as u64,
            });
        }
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(Error::digest_mismatch(
                path.display().to_string(),
                *digest,
                actual,
            ));
        }
        Ok(bytes)
    }

    /// Writes a small blob aside, to be named by its SHA-256 digest. None if the cache has it. A damaged blob of that name will be
    /// replaced.
    pub(crate) fn stage_blob<'h>(
        &self,
        hold: &'h Hold,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Option<StagedFile<'h>>> {
        // Reading what is there costs less than syncing the same bytes again.
        if self.read_blob(digest, bytes.len() as u64, u64::MAX).is_ok() {
            return Ok(None);
        }
        let mut staged = StagedFile::create(self.layout(), hold)?;
        staged.write(bytes)?;
        staged.set_mode(BLOB_MODE)?;
        Ok(Some(staged))
    }

    /// Adds a small blob to the cache and returns its SHA-256 digest. Its name is synced when an image that needs it is published.
    pub(crate) fn put_blob(&self, hold: &Hold, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if let Some(staged) = self.stage_blob(hold, &digest, bytes)? {
            staged.sync()?;
            staged.name(&self.layout().blob(&digest))?;
        }
        Ok(digest)
    }

    /// Copies a stream into the cache as the blob with this digest, in bounded memory. Nothing appears under the digest's name unless
    /// all bytes were read and matched. The digest must be SHA-256, like the names of all blobs.
    pub fn store_blob(
        &self,
        hold: &Hold,
        reader: impl Read,
        what: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<()> {
        if digest.algorithm() != Algorithm::Sha256 {
            return Err(Error::Digest {
                text: digest.to_string(),
                reason: "blobs are named by sha256 digests only",
            });
        }
        let mut reader = VerifiedReader::new(reader, what, *digest, size);
        let mut staged = StagedFile::create(self.layout(), hold)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => staged.write(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reader.failure(error)),
            }
        }
        reader.finish()?;
        staged.publish(&self.layout().blob(digest), BLOB_MODE)?;
        self.sync_blobs()
    }

    /// Syncs the names of the blobs.
    pub(crate) fn sync_blobs(&self) -> Result<()> {
        let directory = self.layout().blobs();
        sync_directory(&directory).map_err(Error::io("sync directory", &directory))
    }
}
