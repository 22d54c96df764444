//! What becomes of what has a copy's name already.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::place::{self, Target};
use super::transfer::{Failure, Original};

/// What can be done about what has a name.
pub(super) enum Way {
    /// Both are directories.
    Merge(OwnedFd),
    /// Nothing is there, or with `replace` a file or link that makes room.
    Place { replace: bool },
    /// It is there already.
    Done,
    /// It is not what it was a moment ago.
    Again,
}

pub(super) fn way(source: &Original, target: &Target) -> Result<Way, Failure> {
    let kind = FileType::from_raw_mode(source.stat.st_mode);
    let Some(there) = place::kind(target)? else {
        return Ok(Way::Place { replace: false });
    };
    let stands = FileType::from_raw_mode(there.st_mode);
    match (kind, stands) {
        (FileType::Directory, FileType::Directory) => match open_directory(target) {
            Ok(found) => Ok(Way::Merge(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Way::Again),
            Err(errno) => Err(errno.into()),
        },
        (FileType::Directory, _) => Err(Errno::NOTDIR.into()),
        (_, FileType::Directory) => Err(Errno::ISDIR.into()),
        (_, FileType::RegularFile | FileType::Symlink) => Ok(Way::Place { replace: true }),
        _ if kind == stands && there.st_rdev == source.stat.st_rdev => Ok(Way::Done),
        _ => Err(Failure::Told(place::refuse(&target.shown, stands))),
    }
}

fn open_directory(target: &Target) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&target.directory, &target.name, flags, Mode::empty())
}
