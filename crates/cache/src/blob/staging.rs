//! Files of the cache that are written aside, synced, and then renamed.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::beneath;
use crate::{Error, Hold, Layout, Result};

/// Prefix of the names of files written aside. No download has it.
pub(crate) const PREFIX: &str = "tmp-";

/// A file that does not have its final name yet. When dropped before [`StagedFile::publish`], it is deleted. If the process is
/// killed before, it stays in `partial/` until the next collection, which cannot run earlier because of the [`Hold`].
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

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(Error::io("write", &self.path))
    }

    /// Syncs the file and renames it to `name`, replacing any other. The name is on the disk once the directory is synced, see
    /// [`crate::sync_directory`].
    pub(crate) fn publish(self, name: &Path, mode: u32) -> Result<()> {
        self.set_mode(mode)?;
        self.sync()?;
        self.name(name)
    }

    /// Sets its mode.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<()> {
        self.file
            .set_permissions(Permissions::from_mode(mode))
            .map_err(Error::io("change mode of", &self.path))
    }

    /// Syncs its bytes.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }

    /// Renames the file, which must be synced, to `name`, replacing any other.
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
