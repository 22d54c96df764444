//! Making, renaming and deleting what lies in the cache, without ever going through a symbolic link below its directory.
//!
//! The cache may lie where another user can write, as that of `scripts/box` does: root works in a checkout. Whatever
//! that user puts or swaps in there, box touches nothing outside. The kernel resolves each path from the cache's
//! directory on (openat2(2), `RESOLVE_NO_SYMLINKS`), and last components are names in open directories, so that there is
//! no moment between a check and its use. The way to the directory itself is the caller's and may lead through links.
//!
//! Modes are said each time: a lax umask opens nothing to others, and a strict one closes nothing of a cache that is shared on
//! purpose. Who may look into a cache is decided by the mode of its directory alone: box makes it for its owner, and keeps one that
//! somebody has made otherwise.

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

/// Mode of what everybody may read and only the owner writes.
pub(crate) const SHARED: u32 = 0o644;
/// Mode of what is nobody else's business.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of directories that everybody may look into who may look into the cache.
pub(crate) const DIRECTORY: u32 = 0o755;
/// Mode of the cache's own directory, where it was missing.
const CACHE: u32 = 0o700;

/// The present, in the words of utimensat(2).
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

/// Opens a file. `mode` counts where `flags` create it.
pub(crate) fn open(layout: &Layout, path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    // A pipe in a file's place must not keep anybody waiting.
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

/// Makes a file that must not be there yet, and opens it for writing.
pub(crate) fn create_new(layout: &Layout, path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = open(layout, path, flags, mode)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Gives a name to a new file of these bytes. What had the name keeps its bytes: it may have other names.
pub(crate) fn replace(layout: &Layout, path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove(layout, path)?;
    create_new(layout, path, SHARED)?.write_all(bytes)
}

/// Renames a file or directory, replacing what has the new name.
pub(crate) fn rename(layout: &Layout, from: &Path, to: &Path) -> io::Result<()> {
    let (old_directory, old) = parent(layout, from)?;
    let (new_directory, new) = parent(layout, to)?;
    renameat(old_directory, old, new_directory, new).map_err(told)
}

/// Deletes a file that may be gone already; whether it was there.
pub(crate) fn remove(layout: &Layout, path: &Path) -> io::Result<bool> {
    let deleted =
        parent(layout, path).and_then(|(at, name)| Ok(unlinkat(at, name, AtFlags::empty())?));
    gone(deleted)
}

/// Deletes a directory that holds files alone, and that may be gone already.
pub(crate) fn remove_directory(layout: &Layout, path: &Path) -> io::Result<bool> {
    gone(delete_directory(layout, path))
}

/// Makes a directory, and those above it up to the cache's, where they are missing.
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
        // Somebody else made it meanwhile, or something else.
        Err(Errno::EXIST) => directory(layout, path).map(drop),
        made => {
            made?;
            let made = open(layout, path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
            made.set_permissions(Permissions::from_mode(mode))
        }
    }
}

/// Makes the cache's own directory where it is missing, and those above it.
pub(crate) fn make_root(layout: &Layout) -> io::Result<()> {
    match layout.root().is_dir() {
        true => Ok(()),
        false => DirBuilder::new()
            .recursive(true)
            .mode(CACHE)
            .create(layout.root()),
    }
}

/// Sets a file's times to now; an empty one is made where it is missing.
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

/// The open directory that a path's last component is in, and that component.
fn parent<'p>(layout: &Layout, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((directory(layout, above)?, name))
}

/// A directory of the cache, to name things in.
fn directory(layout: &Layout, path: &Path) -> io::Result<OwnedFd> {
    let root = root(layout)?;
    if path == layout.root() {
        return Ok(root);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    resolve(root, layout, path, flags, Mode::empty())
}

/// Opens a path that the layout has made, from the cache's directory on.
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
    openat2(root, below, flags, mode, how).map_err(told)
}

fn root(layout: &Layout) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, layout.root(), flags, Mode::empty())?)
}

/// ELOOP in words that tell what to look for.
fn told(errno: Errno) -> io::Error {
    match errno {
        Errno::LOOP => io::Error::other(
            "a symbolic link is in its place or above it, and box follows none in a cache",
        ),
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
