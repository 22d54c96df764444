//! Keeps the directories of box private: no other user may read them or write to them.
//!
//! Layers contain files of any owner, including set-user-ID programs, and blobs and containers contain files that were private to a
//! user of a container. A user with write access to such a directory could decide what runs as root.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::Dirs;
use crate::report::{Failure, cause};

/// Everything that box creates in its root directory, and the directory that a file system has there itself.
const OWN: [&str; 6] = [
    "cache",
    "instances",
    "layers",
    "networks",
    "run",
    "lost+found",
];

/// Bits of a mode that let others do anything.
const OTHERS: u32 = 0o077;
/// Bits of a mode that let others write.
const WRITE: u32 = 0o022;

impl Dirs {
    /// Makes sure that the root directory and the run directory are private to the caller. Refuses directories of another user, and
    /// closes those that an older box created readable for everybody. A cache outside the root directory keeps its owner and mode.
    /// Creates nothing.
    pub fn keep_private(&self) -> Result<(), Failure> {
        let flag = "choose a directory of your own with --root DIR or BOX_ROOT";
        let closed = keep("the root directory", &self.root, flag, has_only_our_own)?;
        if !self.run.starts_with(&self.root) {
            let variable = "choose a directory of your own with BOX_RUN";
            keep("the run directory", &self.run, variable, |path| {
                path.file_name().is_some_and(|name| name == "box")
            })?;
        }
        if closed || self.cache != self.root.join("cache") {
            return Ok(());
        }
        // The root directory stays open because there are other files in it, perhaps also a `cache` of another program.
        keep("the cache", &self.cache, flag, |cache| {
            cache.join("blobs/sha256").is_dir() && !cache.is_symlink()
        })?;
        Ok(())
    }
}

/// Checks one directory, and closes it if it is `ours`. Returns whether it is private now.
fn keep(
    what: &str,
    path: &Path,
    hint: &str,
    ours: impl FnOnce(&Path) -> bool,
) -> Result<bool, Failure> {
    // If the directory cannot be accessed, its first use reports the error.
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(false);
    };
    let refuse = |why: String| {
        Failure::new(format!("cannot use {what} {}: it {why}", path.display())).hint(hint)
    };
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        let owner = metadata.uid();
        return Err(refuse(format!(
            "belongs to user {owner}, and this is user {me}"
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(true);
    }
    if metadata.is_dir() && ours(path) {
        let closed = Permissions::from_mode(mode & !OTHERS & 0o777);
        match std::fs::set_permissions(path, closed) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            Err(error) => {
                let path = path.display();
                return Err(Failure::new(format!(
                    "cannot change the mode of {path}: {}",
                    cause(&error)
                )));
            }
        }
    }
    match mode & WRITE {
        0 => Ok(false),
        _ => Err(refuse(format!(
            "is writable by other users (mode {mode:04o})"
        ))),
    }
}

/// Whether a directory contains only what box has created as this user.
fn has_only_our_own(root: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let own = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let known = OWN.iter().any(|name| entry.file_name() == *name);
        (known && entry.metadata().ok()?.uid() == me).then_some(())
    };
    std::fs::read_dir(root).is_ok_and(|mut entries| entries.all(|entry| own(entry).is_some()))
}
