//! Small files written atomically.

pub(crate) mod descriptor;
pub(crate) mod extents;
pub(crate) mod removal;
pub(crate) mod xattrs;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use box_cache::Durability;
use rustix::fs::Mode;
use rustix::process::umask;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Mode of records and specs.
const MODE: u32 = 0o644;

/// Sets the umask to 022 while this value lives, so that files in a container do not depend on the caller's umask.
///
/// The umask belongs to the process, not to the thread. box has one thread when it creates or starts a container: a pull is over and
/// its client is dropped before. The alternative is a chmod(2) after each mkdir(2) and open(2) of a start.
pub(crate) struct DefaultMask(Mode);

impl DefaultMask {
    /// Replaces the umask until the value is dropped.
    pub fn set() -> Self {
        Self(umask(Mode::from_raw_mode(0o022)))
    }
}

impl Drop for DefaultMask {
    fn drop(&mut self) {
        umask(self.0);
    }
}

/// Replaces `path` with `value`: a reader sees the old content or the new one.
///
/// Not synced to the disk. State in the run directory does not outlive a reboot, and of a record a power cut may take the latest
/// start or end: an fsync(2) for each would add 1.4 ms to it (median, ext4).
pub(crate) fn replace_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::io("write", path, io::Error::from(error)))?;
    box_cache::replace_file(path, MODE, Durability::None, |file| file.write_all(&text))
        .map_err(|error| Error::io("write", path, error))
}

/// Writes a file in a directory that is not complete yet, so that nobody reads it meanwhile.
pub(crate) fn write_new(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::io("write", path, io::Error::from(error)))?;
    write_text(path, &text)
}

/// The same with plain text.
pub(crate) fn write_text(path: &Path, text: &[u8]) -> Result<(), Error> {
    create(path)
        .and_then(|mut file| file.write_all(text))
        .map_err(|error| Error::io("write", path, error))
}

/// Reads and parses a file of box; `None` if it does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let mut text = vec![];
    match File::open(path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::Corrupt {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// Creates a directory and its missing parents with mode 0700, whatever the umask.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::io("create directory", path, error))
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
}
