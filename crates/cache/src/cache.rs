//! The cache: one directory, opened.

pub(crate) mod beneath;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod lock_file;
pub(crate) mod replace;
pub(crate) mod survey;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::blob::staging::StagedFile;
use crate::{Error, Hold, Layout, Result};

/// The version of the image layout that this crate reads and writes.
const LAYOUT_VERSION: &str = "1.0.0";

/// An OCI image layout on disk, shared by any number of processes.
///
/// Cheap to make and to clone: it only has paths. Reading takes no lock and never waits for a writer.
#[derive(Clone, Debug)]
pub struct Cache {
    layout: Layout,
}

/// The document in `oci-layout`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Cache {
    /// Opens the cache in a directory for reading and writing, and creates missing directories. The files that make it an image
    /// layout are written with the first image: an empty cache is not worth waiting for the disk.
    ///
    /// # Errors
    /// [`Error::Layout`] if the directory contains something else; [`Error::Io`] if it is not writable, or if one of the cache's
    /// own directories is a symbolic link.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Cache> {
        let cache = Cache::open_existing(directory);
        let layout = &cache.layout;
        cache.check_marker()?;
        let root = layout.root();
        beneath::make_root(layout).map_err(Error::io("create directory", root))?;
        for (directory, mode) in [
            (layout.blobs(), beneath::DIRECTORY),
            (layout.partial(), beneath::DIRECTORY),
            (layout.locks(), lock::DIRECTORY_MODE),
            (layout.used(), beneath::DIRECTORY),
        ] {
            beneath::make_directory(layout, &directory, mode)
                .map_err(Error::io("create directory", &directory))?;
        }
        Ok(cache)
    }

    /// The cache in a directory that may be missing or not writable. Nothing is touched: a missing directory is a cache without
    /// images.
    pub fn open_existing(directory: impl Into<PathBuf>) -> Cache {
        Cache {
            layout: Layout::new(directory),
        }
    }

    /// The paths of its files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.layout.root()
    }

    /// Keeps the contents of the cache in place, after waiting for a running collector; see [`Hold`].
    pub fn hold(&self) -> Result<Hold> {
        Hold::shared(&self.layout)
    }

    /// Whether the directory is marked as an image layout. Another version is an error.
    fn check_marker(&self) -> Result<bool> {
        let path = self.layout.marker();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let refuse = |reason| {
            Err(Error::Layout {
                path: self.layout.root().to_path_buf(),
                reason,
            })
        };
        match serde_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.image_layout_version == LAYOUT_VERSION => Ok(true),
            Ok(marker) => refuse(format!(
                "its version is {:?}, expected {LAYOUT_VERSION:?}",
                marker.image_layout_version
            )),
            Err(error) => refuse(format!("oci-layout is malformed: {error}")),
        }
    }

    /// Writes aside the file that marks the directory as an image layout. None if it exists.
    pub(crate) fn stage_marker<'h>(&self, hold: &'h Hold) -> Result<Option<StagedFile<'h>>> {
        if self.check_marker()? {
            return Ok(None);
        }
        let marker = Marker {
            image_layout_version: LAYOUT_VERSION.to_owned(),
        };
        let mut staged = StagedFile::create(&self.layout, hold)?;
        staged.write(serde_json::json!(marker).to_string().as_bytes())?;
        staged.set_mode(0o644)?;
        Ok(Some(staged))
    }
}
