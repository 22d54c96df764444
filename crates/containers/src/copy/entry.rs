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
    /// For messages.
    pub(crate) shown: PathBuf,
}

/// How often something is tried that others can make fail by renaming things all the time.
pub(crate) const TRIES: usize = 128;

/// The most names of one directory: so many that nobody has them by honest means, and that fit into memory.
const MOST_NAMES: usize = 2_000_000;

pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Opens what is at a name, as a mere handle, without following it.
pub(crate) fn open(
    directory: impl AsFd,
    name: impl rustix::path::Arg,
) -> Result<(OwnedFd, Stat), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&handle)?;
    Ok((handle, stat))
}

/// Opens a directory that is held as a mere handle for reading.
pub(crate) fn directory(handle: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        handle,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The names in an open directory, in order. [`Errno::OVERFLOW`]: more than anybody has.
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

/// Looks at a name without following it.
pub(crate) fn stat_of(target: &Target) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(&target.directory, &target.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether something was there a moment ago and is not any more.
pub(crate) fn has_vanished(errno: Errno) -> bool {
    // The last two: of a process, and of a file on another machine.
    matches!(errno, Errno::NOENT | Errno::SRCH | Errno::STALE)
}

/// File systems that hold no files but the kernel's own view of itself.
pub(crate) fn is_kernels(directory: impl AsFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| is_of_the_kernel(&found))
}
