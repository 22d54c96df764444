//! The files of the cache, their sizes, and which of them are needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::blob::staging::PREFIX;
use crate::image::{Blob, MAX_DOCUMENT, or_default};
use crate::index::{Entry, Index};
use crate::{Algorithm, Cache, DiffId, Digest, Error, Result};

/// The size of a block of `st_blocks` in bytes, whatever the file system's own block size; see stat(3type).
const BLOCK: u64 = 512;

/// The files of the cache. Sizes are what the file system charges.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The blobs, sorted by digest.
    pub blobs: Vec<StoredBlob>,
    /// Downloads in progress or interrupted, and files written aside.
    pub partial: Vec<StoredFile>,
    /// Damaged blobs.
    pub quarantine: Vec<StoredFile>,
    /// Bytes of files that are derived from the index.
    pub derived: u64,
}

/// A blob as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its name.
    pub digest: Digest,
    /// Its file.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether an image in the index needs it.
    pub referenced: bool,
}

/// A file of the cache that is not a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its path.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was last written, in seconds since the epoch.
    pub modified: i64,
}

/// The blobs and layers that are needed.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<DiffId>,
}

/// Any document that refers to blobs: a manifest, an index, an artifact.
#[derive(Deserialize)]
struct Node {
    config: Option<Blob>,
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<Blob>,
    #[serde(default, deserialize_with = "or_default")]
    blobs: Vec<Blob>,
    #[serde(default, deserialize_with = "or_default")]
    manifests: Vec<Entry>,
    subject: Option<Blob>,
}

/// The fields of a config that are needed here.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<DiffId>,
}

impl Cache {
    /// Looks at every file of the cache. Takes no lock, so changes during the survey may be missed.
    pub fn survey(&self) -> Result<Survey> {
        let (index, _) = Index::read(self.layout())?;
        self.survey_marked(&self.mark(&index.manifests)?)
    }

    pub(crate) fn survey_marked(&self, marked: &Marked) -> Result<Survey> {
        let mut survey = Survey::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.layout().root().join("blobs").join(algorithm.as_str());
            for file in files(&directory)? {
                let name = file
                    .path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                // A file that is not named by a digest is not ours.
                if let Ok(digest) = format!("{}:{name}", algorithm.as_str()).parse::<Digest>() {
                    let referenced = marked.blobs.contains(&digest);
                    survey.blobs.push(StoredBlob {
                        digest,
                        path: file.path,
                        bytes: file.bytes,
                        referenced,
                    });
                }
            }
        }
        survey.blobs.sort_by_key(|blob| blob.digest);
        survey.partial = files(&self.layout().partial())?;
        survey.quarantine = files(&self.layout().quarantine())?;
        survey.derived = disk_usage(&self.layout().lookup())? + disk_usage(&self.layout().used())?;
        Ok(survey)
    }

    /// Everything that entries of the index need. A missing or damaged document needs nothing.
    ///
    /// # Errors
    /// Only if a document could not be read: then its needs are unknown, and nothing may be deleted.
    pub(crate) fn mark<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>) -> Result<Marked> {
        let mut marked = Marked::default();
        let mut todo: Vec<Entry> = entries.into_iter().cloned().collect();
        while let Some(entry) = todo.pop() {
            // Blobs with digests of unknown algorithms are outside the directories that box collects.
            let Ok(digest) = entry.digest.parse::<Digest>() else {
                continue;
            };
            if let Some(index) = entry.provenance().index() {
                marked.blobs.extend(self.indexes(&index)?);
            }
            if !marked.blobs.insert(digest) || !entry.media_type.ends_with("json") {
                continue;
            }
            let Some(node) = self.document::<Node>(&digest, entry.size)? else {
                continue;
            };
            if let Some(config) = &node.config
                && let Some(config) = self.document::<Config>(&config.digest, config.size)?
            {
                marked.layers.extend(config.rootfs.diff_ids);
            }
            let leaves = node.config.iter().chain(&node.layers).chain(&node.blobs);
            marked.blobs.extend(leaves.map(|blob| blob.digest));
            todo.extend(
                node.subject
                    .map(|blob| Entry::new(&blob.media_type, &blob.digest, blob.size)),
            );
            todo.extend(node.manifests);
        }
        Ok(marked)
    }

    fn document<T: for<'de> Deserialize<'de>>(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<T>> {
        match self.read_blob(digest, size, MAX_DOCUMENT) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error @ Error::Io { .. }) => Err(error),
            Err(error) => {
                tracing::debug!(%digest, %error, "a document cannot be followed");
                Ok(None)
            }
        }
    }
}

impl Survey {
    /// The bytes of all blobs.
    pub fn blob_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.bytes).sum()
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        let files = self
            .partial
            .iter()
            .chain(&self.quarantine)
            .map(|file| file.bytes);
        self.blob_bytes() + files.sum::<u64>() + self.derived
    }
}

impl StoredFile {
    /// Whether it was written aside under a [`crate::Hold`]. It is garbage once no process has one.
    pub fn is_staged(&self) -> bool {
        self.path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
    }
}

/// The size of a tree on disk in bytes, including directories. A file with several names counts once. Symbolic links are not
/// followed. A missing path has size 0.
pub fn disk_usage(path: &Path) -> Result<u64> {
    let mut total = 0;
    let mut seen = BTreeMap::new();
    let mut todo = vec![path.to_path_buf()];
    while let Some(path) = todo.pop() {
        let failed = || Error::io("look up", &path);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed()(error)),
        };
        let shared = metadata.nlink() > 1 && !metadata.is_dir();
        if shared && seen.insert((metadata.dev(), metadata.ino()), ()).is_some() {
            continue;
        }
        total += metadata.blocks() * BLOCK;
        if metadata.is_dir() {
            match fs::read_dir(&path) {
                Ok(listing) => {
                    for entry in listing {
                        todo.push(entry.map_err(Error::io("list", &path))?.path());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("list", &path)(error)),
            }
        }
    }
    Ok(total)
}

/// The regular files of a directory, which may be missing.
pub(crate) fn files(directory: &Path) -> Result<Vec<StoredFile>> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", directory)(error)),
    };
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.map_err(Error::io("list", directory))?.path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                files.push(StoredFile {
                    bytes: metadata.blocks() * BLOCK,
                    modified: metadata.mtime(),
                    path,
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("look up", &path)(error)),
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
