//! Entries of open directories.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use box_run::mounts::is_of_the_kernel;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// A name in an open directory.
pub(crate) struct Target {
    pub(crate) directory: OwnedFd,
    pub(crate) name: OsString,
    /// The path in messages.
    pub(crate) shown: PathBuf,
}

/// How often an operation is tried that other processes can make fail by renaming files.
pub(crate) const TRIES: usize = 128;

/// The most names of one directory: more than any real directory has, and few enough for the memory.
const MOST_NAMES: usize = 2_000_000;

pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Opens an entry with `O_PATH`, without following a link.
pub(crate) fn open(
    directory: impl AsFd,
    name: impl rustix::path::Arg,
) -> Result<(OwnedFd, Stat), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&handle)?;
    Ok((handle, stat))
}

/// Opens a directory that was opened with `O_PATH` for reading.
pub(crate) fn directory(handle: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        handle,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The names in an open directory, in order. [`Errno::OVERFLOW`] if there are too many.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let mut names = vec![];
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(OsString::from_vec(name.to_bytes().to_vec()));
        }
        if names.len() > MOST_NAMES {
            return Err(Errno::OVERFLOW);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The metadata of an entry, without following a link; `None` if it does not exist.
pub(crate) fn stat_of(target: &Target) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(&target.directory, &target.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether an error means that the file was removed meanwhile.
pub(crate) fn has_vanished(errno: Errno) -> bool {
    // ESRCH is of files of processes, ESTALE of network file systems.
    matches!(errno, Errno::NOENT | Errno::SRCH | Errno::STALE)
}

/// Whether a directory is on a file system such as proc or sysfs, whose content is never copied.
pub(crate) fn is_kernels(directory: impl AsFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| is_of_the_kernel(&found))
}
