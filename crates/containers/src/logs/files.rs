//! The files of a log: `ctr.log` is written to, `ctr.log.1` is the one before it, and so on.
//!
//! They move on by rename, from the oldest to the newest. So whoever goes through them from the newest to the oldest may see one
//! twice, or find a number empty, but misses none.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The directory of a log in a container's.
pub(super) const DIRECTORY: &str = "log";

/// The file that is written to.
pub(super) const CURRENT: &str = "ctr.log";

/// One that is about to take its place.
const NEXT: &str = "ctr.log.next";

/// The name of the one that was current so many rotations ago.
fn name(number: u32) -> String {
    match number {
        0 => CURRENT.to_owned(),
        number => format!("{CURRENT}.{number}"),
    }
}

/// Opens the current file for appending; makes it if it is not there.
pub(super) fn append(directory: impl AsFd) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, CURRENT, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Makes an empty file the current one, and gives all others the next number; of `count` files the oldest goes. If it fails, the
/// current file is the same as before.
pub(super) fn rotate(directory: impl AsFd, count: u32) -> Result<File, Errno> {
    let directory = directory.as_fd();
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::TRUNC
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    // First, as it is what a full disk refuses.
    let next = openat(directory, NEXT, flags, Mode::RUSR | Mode::WUSR)?;
    for number in (0..count.saturating_sub(1)).rev() {
        match renameat(directory, name(number), directory, name(number + 1)) {
            // A rotation was broken off here, or there were not so many yet.
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

/// Opens one for reading; `None` if it is not there.
fn open(directory: impl AsFd, number: u32) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(directory, name(number), flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// All of them, the newest first.
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

/// The file after this one, or the oldest if this one is not among them any more; `None`: it is the current one.
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

/// Whether both are open at the same file.
pub(super) fn is_same(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
