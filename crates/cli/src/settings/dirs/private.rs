//! The directories of box are its own: nobody else looks into them, or decides what is in them.
//!
//! Layers hold files of every owner, set-user-ID programs among them; blobs and containers hold what was meant for one user of a
//! container alone. Whoever else could write to such a directory would decide what runs as root.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::Dirs;
use crate::report::{Failure, cause};

/// All that box makes in its root directory, and what a file system has there by itself.
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
    /// Takes care that the root directory and what is running are the caller's alone. Those of another user are refused; those
    /// that an older box made for all to see are closed. A cache that is not in the root directory keeps the mode and the owner
    /// that somebody has chosen for it. Nothing is made.
    pub fn keep_private(&self) -> Result<(), Failure> {
        let flag = "name one of your own with --root DIR or BOX_ROOT";
        let closed = keep("the root directory", &self.root, flag, has_only_our_own)?;
        if !self.run.starts_with(&self.root) {
            let variable = "name one of your own with BOX_RUN";
            keep("the run directory", &self.run, variable, |path| {
                path.file_name().is_some_and(|name| name == "box")
            })?;
        }
        if closed || self.cache != self.root.join("cache") {
            return Ok(());
        }
        // The root directory is left open, as there are other things in it: also, perhaps, a `cache` of something else.
        keep("the cache", &self.cache, flag, |cache| {
            cache.join("blobs/sha256").is_dir() && !cache.is_symlink()
        })?;
        Ok(())
    }
}

/// Checks one directory. Closes it where it is `ours` to close; whether others are kept out of it now.
fn keep(
    what: &str,
    path: &Path,
    hint: &str,
    ours: impl FnOnce(&Path) -> bool,
) -> Result<bool, Failure> {
    // What is wrong with a directory that cannot be looked at is told by who needs it.
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(false);
    };
    let refuse = |why: String| {
        Failure::new(format!("{what} {} is not used: it {why}", path.display())).hint(hint)
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
                    "change the mode of {path}: {}",
                    cause(&error)
                )));
            }
        }
    }
    match mode & WRITE {
        0 => Ok(false),
        _ => Err(refuse(format!(
            "can be written to by others (mode {mode:04o})"
        ))),
    }
}

/// Whether there is nothing in it but what this user's box has made.
fn has_only_our_own(root: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let own = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let known = OWN.iter().any(|name| entry.file_name() == *name);
        (known && entry.metadata().ok()?.uid() == me).then_some(())
    };
    std::fs::read_dir(root).is_ok_and(|mut entries| entries.all(|entry| own(entry).is_some()))
}
