//! Entries of the directories on a path, opened without following links.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use box_unpack::merged::{self, Found, Merged};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::{Errno, read, retry_on_intr};

use crate::Error;
use crate::files::descriptor::path_of;

/// A directory on the path.
pub(super) enum Directory {
    Layers(merged::Directory),
    Plain(OwnedFd),
    /// It does not exist yet; the start creates it for a mount below.
    Made,
}

/// The entry that has a name.
pub(super) enum Entry {
    Nothing,
    Directory(Directory),
    Link(OsString),
    File(OwnedFd, Stat),
}

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The entry `name` of `parent` in the layers; `place` is its path.
pub(super) fn layered(
    lower: &Merged,
    parent: &merged::Directory,
    name: &OsStr,
    place: &Path,
) -> Result<Entry, Error> {
    match lower.find(parent, name)? {
        Found::Nothing => Ok(Entry::Nothing),
        Found::Directory(merged) => Ok(Entry::Directory(Directory::Layers(merged))),
        Found::File(file) => entry(lower.open_file(&file)?, place),
    }
}

/// The entry of a directory; nothing if another file system is mounted there.
pub(super) fn plain(directory: &OwnedFd, name: &OsStr, place: &Path) -> Result<Entry, Error> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(directory, name, LOOK, Mode::empty(), resolve) {
        Ok(file) => entry(file, place),
        Err(errno) if is_missing(errno) => Ok(Entry::Nothing),
        Err(errno) => Err(Error::io("open the container's", place, errno)),
    }
}

/// The source of a volume. Links are followed, as by the mount.
pub(super) fn open(source: &Path) -> Result<Entry, Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat(CWD, source, flags, Mode::empty()) {
        Ok(file) => entry(file, source),
        // The start creates or refuses it.
        Err(errno) if is_missing(errno) => Ok(Entry::Nothing),
        Err(errno) => Err(Error::io("open", source, errno)),
    }
}

pub(super) fn entry(file: OwnedFd, path: &Path) -> Result<Entry, Error> {
    let stat = stat_of(&file, path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Entry::Directory(Directory::Plain(file))),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&file, c"", vec![])
                .map_err(|errno| Error::io("read the link", path, errno))?;
            Ok(Entry::Link(OsString::from_vec(target.into_bytes())))
        }
        _ => Ok(Entry::File(file, stat)),
    }
}

pub(super) fn stat_of(file: &OwnedFd, path: impl AsRef<OsStr>) -> Result<Stat, Error> {
    fstat(file).map_err(|errno| Error::io("look at", Path::new(&path), errno))
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(super) fn is_missing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::ACCESS
            | Errno::NAMETOOLONG
            | Errno::AGAIN
    )
}

/// Reads a regular file that was opened with `O_PATH`.
pub(super) fn read_open(
    file: &OwnedFd,
    stat: &Stat,
    most: u64,
) -> Result<Option<(Vec<u8>, bool)>, Errno> {
    let path = path_of(file);
    // O_NONBLOCK: a lease that a process in the container holds must not block the open, fcntl(2).
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(errno) if is_missing(errno) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let size = u64::try_from(stat.st_size).unwrap_or(0).min(most) as usize;
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    // One byte more than the size, so that the first read finds the end.
    let mut bytes = vec![0; size + 1];
    let mut length = 0;
    loop {
        let count = retry_on_intr(|| read(&file, &mut bytes[length..]))?;
        length += count;
        if count == 0 || length > most || (length < bytes.len() && length >= size) {
            break;
        }
        if length == bytes.len() {
            // It grew.
            bytes.resize(length.saturating_mul(2).min(most + 1), 0);
        }
    }
    bytes.truncate(length.min(most));
    Ok(Some((bytes, length <= most)))
}
