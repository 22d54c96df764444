//! Copies created in a directory that nobody else can enter.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Transfer;
use crate::copy::entry::{self, has_vanished};
use crate::copy::failure::Failure;
use crate::copy::source::SourceFile;
use crate::copy::staging::open_made;
use crate::copy::{content, metadata};
use crate::files::descriptor::reopen;

impl Transfer<'_> {
    /// Creates a copy in a directory that nobody else can enter. Returns false if the source was removed meanwhile.
    pub(super) fn make(
        &mut self,
        source: &SourceFile,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &Path,
        depth: usize,
    ) -> Result<bool, Failure> {
        let SourceFile { handle, stat, .. } = source;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && self.links.link(stat, parent, name) {
            self.copied.files += 1;
            return Ok(true);
        }
        let made = match kind {
            FileType::Directory => {
                return self.make_directory(source, parent, name, shown, depth);
            }
            FileType::RegularFile => {
                let from = match reopen(handle, OFlags::RDONLY) {
                    Err(errno) if has_vanished(errno) => {
                        self.copied.vanished += 1;
                        return Ok(false);
                    }
                    other => other?,
                };
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let mode = Mode::RUSR | Mode::WUSR;
                let to = rustix::fs::openat(parent, name, flags, mode)?;
                self.copied.bytes += content::copy(&from, stat.st_size as u64, &to, self.stop)?;
                to
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(handle, "", vec![])?;
                rustix::fs::symlinkat(link.as_c_str(), parent, name)?;
                made_node(parent, name, stat)?
            }
            _ => {
                let mode = Mode::RUSR | Mode::WUSR;
                rustix::fs::mknodat(parent, name, kind, mode, stat.st_rdev)?;
                made_node(parent, name, stat)?
            }
        };
        metadata::apply(&self.options, handle, stat, &made)?;
        self.links.note(stat, made);
        self.copied.files += 1;
        Ok(true)
    }

    /// Copies a directory with its content.
    pub(super) fn make_directory(
        &mut self,
        source: &SourceFile,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &Path,
        depth: usize,
    ) -> Result<bool, Failure> {
        let skipped = self.skips_content(source);
        let listed = match skipped {
            true => None,
            false => match self
                .list(&source.handle, shown)
                .map_err(Failure::Explained)?
            {
                None => return Ok(false),
                listed => listed,
            },
        };
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let made = open_made(parent, name)?;
        let stat = rustix::fs::fstat(&made)?;
        self.excluded.insert(entry::identity(&stat));
        self.copied.files += 1;
        if let Some((directory, device, names)) = listed {
            for name in names {
                let shown = shown.join(&name);
                let looked = self.open_child(&directory, device, &name, &shown);
                let Some(child) = looked.map_err(Failure::Explained)? else {
                    continue;
                };
                let failed = |failure: Failure| Failure::Explained(failure.at(&shown));
                if self.accepts(&child, &shown, depth + 1).map_err(failed)? {
                    self.make(&child, &made, &name, &shown, depth + 1)
                        .map_err(failed)?;
                }
            }
        }
        metadata::apply(&self.options, &source.handle, &source.stat, &made)?;
        Ok(true)
    }
}

/// Opens a link, pipe or device that was created by name. Another one of the same kind is as good; anything else is refused.
fn made_node(parent: &OwnedFd, name: &OsStr, like: &Stat) -> Result<OwnedFd, Errno> {
    let (made, stat) = entry::open(parent, name)?;
    let same = stat.st_mode & libc::S_IFMT == like.st_mode & libc::S_IFMT;
    let device = !FileType::from_raw_mode(stat.st_mode).is_symlink();
    if !same || device && stat.st_rdev != like.st_rdev {
        return Err(Errno::AGAIN);
    }
    Ok(made)
}
