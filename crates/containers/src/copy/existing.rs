//! What becomes of what has a copy's name already.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::entry::{Target, stat_of};
use super::failure::Failure;
use super::source::SourceFile;
use super::tree::destination::refuse;

/// What can be done about what has a name.
pub(super) enum Existing {
    /// Both are directories.
    Merge(OwnedFd),
    /// Nothing is there, or with `replace` a file or link that makes room.
    Place { replace: bool },
    /// A file is mounted there, such as /etc/hosts: only its content can be replaced.
    Mounted,
    /// It is there already.
    Done,
    /// It is not what it was a moment ago.
    Again,
}

pub(super) fn examine(source: &SourceFile, target: &Target) -> Result<Existing, Failure> {
    let kind = FileType::from_raw_mode(source.stat.st_mode);
    let Some(there) = stat_of(target)? else {
        return Ok(Existing::Place { replace: false });
    };
    let stands = FileType::from_raw_mode(there.st_mode);
    match (kind, stands) {
        (FileType::Directory, FileType::Directory) => match open_directory(target) {
            Ok(found) => Ok(Existing::Merge(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Existing::Again),
            Err(errno) => Err(errno.into()),
        },
        (FileType::Directory, _) => Err(Errno::NOTDIR.into()),
        (_, FileType::Directory) => Err(Errno::ISDIR.into()),
        (_, FileType::RegularFile) if is_mounted(target)? => Ok(Existing::Mounted),
        (_, FileType::RegularFile | FileType::Symlink) => Ok(Existing::Place { replace: true }),
        _ if kind == stands && there.st_rdev == source.stat.st_rdev => Ok(Existing::Done),
        _ => Err(Failure::Explained(refuse(&target.shown, stands))),
    }
}

fn open_directory(target: &Target) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&target.directory, &target.name, flags, Mode::empty())
}

/// Whether a mount begins at a name. The kernel says so of a rename in the caller's mount namespace alone: in that of a container it
/// takes the mount away, rename(2).
fn is_mounted(target: &Target) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statx(&target.directory, &target.name, flags, StatxFlags::empty());
    match stat {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
