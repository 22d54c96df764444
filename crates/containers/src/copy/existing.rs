//! The existing file at the destination of a copy.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::entry::{Target, stat_of};
use super::failure::Failure;
use super::source::SourceFile;
use super::tree::destination::refuse;

/// What is at a destination, and what to do about it.
pub(super) enum Existing {
    /// Source and destination are directories.
    Merge(OwnedFd),
    /// Nothing, or with `replace` a file or link that is replaced.
    Place { replace: bool },
    /// A mount point that is a file, such as /etc/hosts: only its content can be replaced.
    Mounted,
    /// The same device, pipe or socket.
    Done,
    /// It changed between two system calls.
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

/// Whether a name is a mount point. A rename over it fails only in the mount namespace of the mount: from another one it removes the
/// mount, rename(2).
fn is_mounted(target: &Target) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statx(&target.directory, &target.name, flags, StatxFlags::empty());
    match stat {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
