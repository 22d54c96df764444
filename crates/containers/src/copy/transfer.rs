//! The copying: from an open file to a name in an open directory.

mod make;
mod replace;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::content;
use super::entry::{self, Identity, Target, has_vanished};
use super::failure::{DEEPEST, Failure};
use super::hard_links::HardLinks;
use super::options::{Copied, CopyOptions};
use super::owner::FileOwner;
use super::source::SourceFile;
use super::tree::Tree;
use crate::Error;
use crate::files::descriptor::{path_of, reopen};

/// The most files of one copy: a container can create files as fast as they are copied.
const MOST_ENTRIES: u64 = 10_000_000;

pub(super) struct Transfer<'a> {
    options: CopyOptions,
    from: &'a Tree,
    stop: &'a dyn Fn() -> bool,
    pub(super) copied: Copied,
    links: HardLinks,
    /// Directories that the copy creates or writes to: those are not copied into themselves.
    excluded: HashSet<Identity>,
    entries: u64,
    file_owner: Option<FileOwner>,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        options: CopyOptions,
        from: &'a Tree,
        to: &Tree,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            options,
            from,
            stop,
            copied: Copied::default(),
            links: HardLinks::default(),
            excluded: to.excluded().iter().copied().collect(),
            entries: 0,
            file_owner: None,
        }
    }

    /// Copies a file of any kind to a name and replaces an existing file; directories are merged.
    pub(super) fn entry(&mut self, source: &SourceFile, target: &Target) -> Result<(), Error> {
        self.copy_to(source, target, &mut None, 0)
    }

    /// Copies the content of a directory into another.
    pub(super) fn content(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        shown: &Path,
    ) -> Result<(), Error> {
        self.merge(source, target, shown, 0)
    }

    /// Writes the content of a file to an open device or pipe.
    pub(super) fn write_content(
        &mut self,
        source: &SourceFile,
        target: &OwnedFd,
        shown: &Path,
    ) -> Result<(), Error> {
        let written = || -> Result<u64, Errno> {
            let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
            let path = path_of(target);
            // Blocks until a pipe has a reader, as cp(1) does.
            let to = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?;
            let from = reopen(&source.handle, OFlags::RDONLY)?;
            content::write_content(&from, source.stat.st_size as u64, &to)
        };
        self.copied.bytes += written().map_err(|errno| Failure::from(errno).at(shown))?;
        self.copied.files += 1;
        Ok(())
    }

    fn merge(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        shown: &Path,
        depth: usize,
    ) -> Result<(), Error> {
        let failed = |errno: Errno| Failure::from(errno).at(shown);
        let stat = rustix::fs::fstat(target).map_err(failed)?;
        self.excluded.insert(entry::identity(&stat));
        let Some((directory, device, names)) = self.list(source, shown)? else {
            return Ok(());
        };
        let mut private = None;
        for name in names {
            let Some(source) = self.open_child(&directory, device, &name, shown)? else {
                continue;
            };
            let directory = rustix::io::fcntl_dupfd_cloexec(target, 0).map_err(failed)?;
            let shown = shown.join(&name);
            let target = Target {
                directory,
                name,
                shown,
            };
            self.copy_to(&source, &target, &mut private, depth + 1)?;
        }
        Ok(())
    }

    /// The directory, its device and the names in it; `None` if it was removed.
    #[allow(clippy::type_complexity)]
    fn list(
        &mut self,
        source: &OwnedFd,
        shown: &Path,
    ) -> Result<Option<(OwnedFd, u64, Vec<OsString>)>, Error> {
        let listed = || -> Result<_, Errno> {
            let directory = entry::directory(source)?;
            let device = rustix::fs::fstat(&directory)?.st_dev;
            let names = entry::names(&directory)?;
            Ok((directory, device, names))
        };
        match listed() {
            Ok(listed) => Ok(Some(listed)),
            Err(errno) if has_vanished(errno) => {
                self.copied.vanished += 1;
                Ok(None)
            }
            Err(errno) => Err(Failure::from(errno).at(shown)),
        }
    }

    /// Opens a file of the directory; `None` if it was removed since the listing, or is excluded.
    fn open_child(
        &mut self,
        directory: &OwnedFd,
        device: u64,
        name: &OsStr,
        shown: &Path,
    ) -> Result<Option<SourceFile>, Error> {
        let (handle, stat) = match entry::open(directory, name) {
            Ok(found) => found,
            Err(errno) if has_vanished(errno) => {
                self.copied.vanished += 1;
                return Ok(None);
            }
            Err(errno) => return Err(Error::io("open", &shown.join(name), errno)),
        };
        let excluded = self.excluded.contains(&entry::identity(&stat));
        Ok((!excluded).then_some(SourceFile {
            handle,
            stat,
            device: Some(device),
        }))
    }

    /// Counts a file. Returns whether it is copied.
    fn accepts(
        &mut self,
        source: &SourceFile,
        shown: &Path,
        depth: usize,
    ) -> Result<bool, Failure> {
        if (self.stop)() {
            return Err(Errno::INTR.into());
        }
        self.entries += 1;
        if self.entries > MOST_ENTRIES || depth > DEEPEST {
            let why = match depth > DEEPEST {
                true => format!("directories are nested more than {DEEPEST} deep"),
                false => format!("more than {MOST_ENTRIES} files"),
            };
            return Err(Failure::Explained(Error::copy("copy to", shown, why)));
        }
        let kind = FileType::from_raw_mode(source.stat.st_mode);
        let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let unknown = matches!(kind, FileType::Socket | FileType::Unknown);
        if unknown || device && !self.options.archive {
            self.copied.skipped += 1;
            return Ok(false);
        }
        Ok(kind == FileType::Directory || !self.skips_content(source))
    }

    /// Whether a file or directory is the root of a file system whose content is not copied.
    fn skips_content(&mut self, source: &SourceFile) -> bool {
        if source
            .device
            .is_none_or(|device| device == source.stat.st_dev)
        {
            return false;
        }
        if let Some(unavailable) = self.from.unavailable(&source.stat) {
            self.copied.note_unavailable(unavailable);
            return true;
        }
        entry::is_kernels(&source.handle)
    }
}
