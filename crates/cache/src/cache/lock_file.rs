//! Notes of the lock files that pin images of this cache, so that the collector keeps what they name, wherever they are.
//!
//! Each note is a small file, `pins/<sha256 of the path>`, that contains the path. Losing one costs a download at worst, so
//! notes are not synced.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::blob::partial::remove;
use crate::cache::beneath;
use crate::cache::survey::files;
use crate::{Cache, Digest, Error, Result};
use box_host::{is_full, is_unwritable};

/// The longest path of a note in bytes: the kernel's own limit.
const MAX_PATH: u64 = 4096;

impl Cache {
    /// Notes that a lock file names images of this cache. Does nothing in a cache that is not writable.
    pub fn note_lock_file(&self, lock_file: &Path) -> Result<()> {
        let Ok(path) = std::path::absolute(lock_file) else {
            return Ok(());
        };
        let note = self.note_of(&path);
        if read(&note).ok().as_ref() == Some(&path) {
            return Ok(());
        }
        let directory = self.layout().pins();
        let layout = self.layout();
        let written = beneath::make_directory(layout, &directory, beneath::DIRECTORY)
            .and_then(|()| beneath::replace(layout, &note, path.as_os_str().as_bytes()));
        match written {
            Err(error)
                // Where the name is taken, another process writes the same note just now.
                if !(is_unwritable(&error)
                    || is_full(&error)
                    || error.kind() == io::ErrorKind::AlreadyExists) =>
            {
                Err(Error::io("note a lock file in", &note)(error))
            }
            _ => Ok(()),
        }
    }

    /// The noted lock files, whether they still exist or not.
    pub fn lock_files(&self) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for file in files(&self.layout().pins())? {
            let path = read(&file.path).map_err(Error::io("read", &file.path))?;
            // A note that a power cut truncated does not count.
            if self.note_of(&path) == file.path {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Deletes the note of a lock file.
    pub fn forget_lock_file(&self, path: &Path) -> Result<()> {
        remove(self.layout(), &self.note_of(path))?;
        Ok(())
    }

    fn note_of(&self, path: &Path) -> PathBuf {
        let name = Digest::of(path.as_os_str().as_bytes()).hex();
        self.layout().pins().join(name)
    }
}

fn read(note: &Path) -> io::Result<PathBuf> {
    let mut bytes = Vec::new();
    fs::File::open(note)?
        .take(MAX_PATH)
        .read_to_end(&mut bytes)?;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}
