//! The files of a log: `ctr.log` is the current one, `ctr.log.1` the one before it, and so on.
//!
//! A rotation renames them, the oldest first. So a reader that goes from the newest to the oldest may see a file twice, or find a
//! number missing, but never misses a file.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The directory of the log in the container's directory.
pub(super) const DIRECTORY: &str = "log";

/// The current file.
pub(super) const CURRENT: &str = "ctr.log";

/// The next current file during a rotation.
const NEXT: &str = "ctr.log.next";

/// The name of the file that was current that many rotations ago.
fn name(number: u32) -> String {
    match number {
        0 => CURRENT.to_owned(),
        number => format!("{CURRENT}.{number}"),
    }
}

/// Opens the current file for appending and creates it if it does not exist.
pub(super) fn append(directory: impl AsFd) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, CURRENT, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Renames each file to the next number, removes the oldest of `count` files, and creates an empty current file. On failure the current
/// file stays the same.
pub(super) fn rotate(directory: impl AsFd, count: u32) -> Result<File, Errno> {
    let directory = directory.as_fd();
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::TRUNC
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    // First, as this fails on a full disk.
    let next = openat(directory, NEXT, flags, Mode::RUSR | Mode::WUSR)?;
    for number in (0..count.saturating_sub(1)).rev() {
        match renameat(directory, name(number), directory, name(number + 1)) {
            // A rotation was interrupted here, or there are fewer files yet.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                unlinkat(directory, NEXT, AtFlags::empty()).ok();
                return Err(errno);
            }
        }
    }
    renameat(directory, NEXT, directory, CURRENT)?;
    Ok(next.into())
}

/// Opens a file for reading; `None` if it does not exist.
fn open(directory: impl AsFd, number: u32) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(directory, name(number), flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// All files, the newest first.
pub(super) fn all(directory: impl AsFd, count: u32) -> io::Result<Vec<File>> {
    let directory = directory.as_fd();
    let mut found: Vec<File> = vec![];
    for number in 0..count {
        if let Some(file) = open(directory, number)?
            && !found
                .last()
                .map_or(Ok(false), |before| is_same(before, &file))?
        {
            found.push(file);
        }
    }
    Ok(found)
}

/// The file after this one, or the oldest one if this one was removed; `None` if this is the current one.
pub(super) fn after(
    directory: impl AsFd,
    count: u32,
    file: Option<&File>,
) -> io::Result<Option<File>> {
    let directory = directory.as_fd();
    let mut newer = None;
    for number in 0..count {
        let Some(found) = open(directory, number)? else {
            continue;
        };
        if file.map_or(Ok(false), |file| is_same(file, &found))? {
            return Ok(newer);
        }
        newer = Some(found);
    }
    Ok(newer)
}

/// Whether both are the same file.
pub(super) fn is_same(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
