//! The copying itself: from an open file to a name in an open directory.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid};
use rustix::io::Errno;

use super::place::{self, Target};
use super::{Copied, Options};
use crate::archive::{magic, reopen};
use crate::xattrs::{self, Mapping};
use crate::{Error, diff};

pub(super) struct Transfer {
    options: Options,
    pub(super) copied: Copied,
    /// For names that nobody else uses.
    number: u64,
}

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

impl Transfer {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            copied: Copied::default(),
            number: 0,
        }
    }

    /// Copies a file of any kind to a name, in the place of what is there; a directory is merged into one.
    pub(super) fn entry(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        target: &Target,
    ) -> Result<(), Error> {
        let failed = |errno: Errno| Error::io("copy to", Path::new(&target.name), errno);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let there = place::kind(target)
            .map_err(failed)?
            .map(|stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, there) {
            (FileType::Directory, Some(FileType::Directory)) => {}
            (FileType::Directory, None) => {
                rustix::fs::mkdirat(&target.directory, &target.name, Mode::RWXU).map_err(failed)?;
            }
            (FileType::Directory, Some(_)) => return Err(failed(Errno::NOTDIR)),
            (_, Some(FileType::Directory)) => return Err(failed(Errno::ISDIR)),
            _ => return self.file(source, stat, kind, target).map_err(failed),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&target.directory, &target.name, flags, Mode::empty())
            .map_err(failed)?;
        self.copied.files += 1;
        self.content(source, stat, &made)?;
        match there {
            Some(_) => Ok(()),
            None => self.describe(source, stat, &made).map_err(failed),
        }
    }

    /// Copies what a directory holds into another.
    pub(super) fn content(
        &mut self,
        source: &OwnedFd,
        _: &Stat,
        target: &OwnedFd,
    ) -> Result<(), Error> {
        let unreadable = |errno: Errno| Error::system("read a directory to be copied", errno);
        let directory = place::directory(source).map_err(unreadable)?;
        for name in diff::names(&directory).map_err(unreadable)? {
            let (source, stat) = match place::look(&directory, &name) {
                Ok(found) => found,
                // Gone since the directory was listed.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(Error::io("open", Path::new(&name), errno)),
            };
            let directory = target
                .try_clone()
                .map_err(|error| Error::io("copy to", Path::new(&name), error))?;
            self.entry(&source, &stat, &Target { directory, name })?;
        }
        Ok(())
    }

    /// Makes the copy aside and renames it, so that nobody sees half of it.
    fn file(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        kind: FileType,
        target: &Target,
    ) -> Result<(), Errno> {
        let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        if kind == FileType::Socket
            || kind == FileType::Unknown
            || (device && !self.options.archive)
        {
            self.copied.skipped += 1;
            return Ok(());
        }
        let aside = loop {
            self.number += 1;
            let name = OsString::from(format!(".box-cp-{}-{}", std::process::id(), self.number));
            match self.make(source, stat, kind, &target.directory, &name) {
                Ok(()) => break name,
                Err(Errno::EXIST) => {}
                Err(errno) => {
                    // The failure before is the one to tell.
                    rustix::fs::unlinkat(&target.directory, &name, AtFlags::empty()).ok();
                    return Err(errno);
                }
            }
        };
        match rustix::fs::renameat(&target.directory, &aside, &target.directory, &target.name) {
            Ok(()) => {}
            Err(errno) => {
                rustix::fs::unlinkat(&target.directory, &aside, AtFlags::empty()).ok();
                // A mount point, such as /etc/hosts: only its content can be replaced.
                if errno != Errno::BUSY || kind != FileType::RegularFile {
                    return Err(errno);
                }
                let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(&target.directory, &target.name, flags, Mode::empty())?;
                self.data(source, file)?;
            }
        }
        self.copied.files += 1;
        Ok(())
    }

    fn make(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        kind: FileType,
        directory: &OwnedFd,
        name: &OsString,
    ) -> Result<(), Errno> {
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
                self.data(source, file)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(source, "", vec![])?;
                rustix::fs::symlinkat(link.as_c_str(), directory, name)?;
            }
            _ => rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
        }
        let (made, _) = place::look(directory, name)?;
        self.describe(source, stat, &made)
    }

    fn data(&mut self, source: &OwnedFd, target: OwnedFd) -> Result<(), Errno> {
        let mut source = File::from(reopen(source, OFlags::RDONLY)?);
        let mut target = File::from(target);
        let bytes = io::copy(&mut source, &mut target)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.copied.bytes += bytes;
        Ok(())
    }

    /// Owner, then mode (a change of owner takes set-id bits away), xattrs, and times at last.
    fn describe(&self, source: &OwnedFd, stat: &Stat, made: &OwnedFd) -> Result<(), Errno> {
        let (uid, gid) = match (self.options.archive, self.options.inward) {
            (false, _) => self.options.owner,
            (true, true) => (
                self.options.ids.outside(stat.st_uid),
                self.options.ids.outside(stat.st_gid),
            ),
            (true, false) => (
                self.options.ids.inside(stat.st_uid),
                self.options.ids.inside(stat.st_gid),
            ),
        };
        let path = magic(made);
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(made.as_fd(), "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !link {
            // Nobody gets a program with the caller's rights out of a container by accident.
            let kept = if self.options.archive || self.options.inward {
                0o7777
            } else {
                0o7777 & !SET_ID
            };
            rustix::fs::chmod(&path, Mode::from_raw_mode(stat.st_mode & kept))?;
        }
        if self.options.archive && !link {
            let mapping = match self.options.inward {
                true => Mapping::Outside(self.options.ids),
                false => Mapping::Inside(self.options.ids),
            };
            xattrs::copy(&magic(source), &path, mapping)?;
        }
        let time = |seconds: i64, nanoseconds| rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec as _),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
        };
        // AT_EMPTY_PATH: a link's own times, and nobody else's.
        match rustix::fs::utimensat(made.as_fd(), "", &times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL) => Ok(()),
            result => result,
        }
    }
}
