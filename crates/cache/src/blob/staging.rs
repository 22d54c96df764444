//! Files written aside: they get their name by one rename, after their bytes are on disk.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::beneath;
use crate::{Error, Hold, Layout, Result};

/// Files written aside have names that begin so. No download's name does.
pub(crate) const PREFIX: &str = "tmp-";

/// A file without a name of its own yet. Dropped before [`StagedFile::publish`], it is deleted; killed before, it stays
/// in `partial/` until the collector comes. The collector cannot come earlier, as the maker has a [`Hold`].
pub(crate) struct StagedFile<'h> {
    file: File,
    path: PathBuf,
    layout: Layout,
    published: bool,
    _hold: &'h Hold,
}

impl<'h> StagedFile<'h> {
    /// An empty file that only its owner can read.
    pub(crate) fn create(layout: &Layout, hold: &'h Hold) -> Result<StagedFile<'h>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let directory = layout.partial();
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match beneath::create_new(layout, &path, beneath::PRIVATE) {
                Ok(file) => {
                    return Ok(StagedFile {
                        file,
                        path,
                        layout: layout.clone(),
                        published: false,
                        _hold: hold,
                    });
                }
                // Left behind by a killed process that had our process id, perhaps in another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.is_dir() => {
                    beneath::make_directory(layout, &directory, beneath::DIRECTORY)
                        .map_err(Error::io("create directory", &directory))?;
                }
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
    }

    /// The file as it is being written.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(Error::io("write", &self.path))
    }

    /// Brings the bytes to the disk, then gives the file its name, replacing what had it. The name itself is on disk
    /// once the directory is synced, see [`sync_directory`].
    pub(crate) fn publish(self, name: &Path, mode: u32) -> Result<()> {
        self.set_mode(mode)?;
        self.sync()?;
        self.name(name)
    }

    /// Changes who may read and write it.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<()> {
        self.file
            .set_permissions(Permissions::from_mode(mode))
            .map_err(Error::io("change mode of", &self.path))
    }

    /// Brings the bytes to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }

    /// Gives the file, which must be on the disk, its name, replacing what had it.
    pub(crate) fn name(mut self, name: &Path) -> Result<()> {
        beneath::rename(&self.layout, &self.path, name)
            .map_err(Error::io("rename a new file to", name))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = beneath::remove(&self.layout, &self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "a file written aside stays until the next collection");
        }
    }
}
