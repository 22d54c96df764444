//! Creating, renaming and deleting files of the cache without following any symbolic link below its directory.
//!
//! Another user may be able to write where the cache is, as with `scripts/box`, where root works in a checkout. Whatever that
//! user puts or swaps in there, box touches nothing outside. The kernel resolves each path from the cache's directory on
//! (openat2(2), `RESOLVE_NO_SYMLINKS`), and last components are names in open directories, so there is no moment between a
//! check and its use. The path of the cache directory itself is the caller's choice and may contain links.
//!
//! Modes are set explicitly: a lax umask opens nothing to others, and a strict one closes nothing of a cache that is shared on
//! purpose. Access to a cache is decided by the mode of its directory alone: box creates it for its owner only, and leaves an
//! existing one as it is.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_NOW, mkdirat,
    openat, openat2, renameat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::Layout;

/// Mode of files that everybody may read and only the owner may write.
pub(crate) const SHARED: u32 = 0o644;
/// Mode of files that only the owner may read.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of directories inside the cache.
pub(crate) const DIRECTORY: u32 = 0o755;
/// Mode of the cache's own directory, if box creates it.
const CACHE: u32 = 0o700;

/// The current time, for utimensat(2).
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

/// Opens a file. `mode` is used if `flags` create it.
pub(crate) fn open(layout: &Layout, path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    // A pipe instead of a file must not block.
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = match flags.contains(OFlags::CREATE) {
        true => Mode::from_raw_mode(mode),
        false => Mode::empty(),
    };
    Ok(File::from(resolve(
        root(layout)?,
        layout,
        path,
        flags,
        mode,
    )?))
}

/// Creates a file that must not exist yet, and opens it for writing.
pub(crate) fn create_new(layout: &Layout, path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = open(layout, path, flags, mode)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Puts a new file with these bytes in place of an old one. The old file itself is not changed, as it may have other names. Neither
/// atomic nor synced: for notes, see [`super::replace`] for the rest.
pub(crate) fn replace(layout: &Layout, path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove(layout, path)?;
    create_new(layout, path, SHARED)?.write_all(bytes)
}

/// Renames a file or directory, replacing what has the new name.
pub(crate) fn rename(layout: &Layout, from: &Path, to: &Path) -> io::Result<()> {
    let (old_directory, old) = parent(layout, from)?;
    let (new_directory, new) = parent(layout, to)?;
    renameat(old_directory, old, new_directory, new).map_err(explained)
}

/// Deletes a file if it exists. Returns whether it did.
pub(crate) fn remove(layout: &Layout, path: &Path) -> io::Result<bool> {
    let deleted =
        parent(layout, path).and_then(|(at, name)| Ok(unlinkat(at, name, AtFlags::empty())?));
    gone(deleted)
}

/// Deletes a directory that contains only files, if it exists.
pub(crate) fn remove_directory(layout: &Layout, path: &Path) -> io::Result<bool> {
    gone(delete_directory(layout, path))
}

/// Creates a directory and its parents inside the cache, if they are missing.
pub(crate) fn make_directory(layout: &Layout, path: &Path, mode: u32) -> io::Result<()> {
    match directory(layout, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map(drop),
    }
    let (at, name) = match parent(layout, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.parent().filter(|above| *above != layout.root());
            make_directory(layout, above.ok_or(error)?, DIRECTORY)?;
            parent(layout, path)?
        }
        found => found?,
    };
    match mkdirat(at, name, Mode::from_raw_mode(mode)) {
        // Another process made it meanwhile, or something else has the name.
        Err(Errno::EXIST) => directory(layout, path).map(drop),
        made => {
            made?;
            let made = open(layout, path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
            made.set_permissions(Permissions::from_mode(mode))
        }
    }
}

/// Creates the cache's own directory and its parents, if they are missing.
pub(crate) fn make_root(layout: &Layout) -> io::Result<()> {
    match layout.root().is_dir() {
        true => Ok(()),
        false => DirBuilder::new()
            .recursive(true)
            .mode(CACHE)
            .create(layout.root()),
    }
}

/// Sets a file's times to now. Creates an empty file if it is missing.
pub(crate) fn touch(layout: &Layout, path: &Path) -> io::Result<()> {
    let (at, name) = parent(layout, path)?;
    let now = Timestamps {
        last_access: NOW,
        last_modification: NOW,
    };
    match utimensat(at, name, &now, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {
            open(layout, path, OFlags::WRONLY | OFlags::CREATE, SHARED)?;
            Ok(())
        }
        touched => Ok(touched?),
    }
}

fn delete_directory(layout: &Layout, path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let opened = open(layout, path, flags, 0)?;
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            gone(Ok(unlinkat(&opened, name, AtFlags::empty())?))?;
        }
    }
    let (at, name) = parent(layout, path)?;
    Ok(unlinkat(at, name, AtFlags::REMOVEDIR)?)
}

/// Opens the directory of a path, and returns it with the path's last component.
fn parent<'p>(layout: &Layout, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((directory(layout, above)?, name))
}

/// Opens a directory of the cache with `O_PATH`.
fn directory(layout: &Layout, path: &Path) -> io::Result<OwnedFd> {
    let root = root(layout)?;
    if path == layout.root() {
        return Ok(root);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    resolve(root, layout, path, flags, Mode::empty())
}

/// Opens a path of the layout, resolved from the cache's directory on.
fn resolve(
    root: OwnedFd,
    layout: &Layout,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let below = path
        .strip_prefix(layout.root())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    openat2(root, below, flags, mode, how).map_err(explained)
}

fn root(layout: &Layout) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, layout.root(), flags, Mode::empty())?)
}

/// Explains ELOOP.
fn explained(errno: Errno) -> io::Error {
    match errno {
        Errno::LOOP => {
            io::Error::other("a symbolic link is on the path, and box follows none in a cache")
        }
        other => other.into(),
    }
}

fn gone(deleted: io::Result<()>) -> io::Result<bool> {
    match deleted {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
