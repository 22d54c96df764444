//! Copies moved to their destination, which may be in a directory of another user.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::Transfer;
use crate::Error;
use crate::copy::entry::{self, TRIES, Target, has_vanished};
use crate::copy::existing::{Existing, examine};
use crate::copy::failure::Failure;
use crate::copy::owner::FileOwner;
use crate::copy::source::SourceFile;
use crate::copy::staging::Staging;
use crate::copy::staging::names::ONLY;
use crate::copy::{content, metadata, unnamed};
use crate::files::descriptor::reopen;

impl Transfer<'_> {
    /// Copies to a name in a directory that may belong to another user.
    pub(super) fn copy_to(
        &mut self,
        source: &SourceFile,
        target: &Target,
        staging: &mut Option<Staging>,
        depth: usize,
    ) -> Result<(), Error> {
        let failed = |failure: Failure| failure.at(&target.shown);
        if !self.accepts(source, &target.shown, depth).map_err(failed)? {
            return Ok(());
        }
        let mut unnamed = None;
        let mut made = false;
        for _ in 0..TRIES {
            let replace = match examine(source, target).map_err(failed)? {
                Existing::Again => continue,
                Existing::Done => {
                    self.copied.files += 1;
                    return Ok(());
                }
                Existing::Mounted => {
                    self.copied.files += u64::from(!made);
                    let written = self.overwrite(source, target);
                    return written.map_err(|errno| failed(errno.into()));
                }
                Existing::Merge(_) if self.skips_content(source) => return Ok(()),
                Existing::Merge(found) => {
                    self.copied.files += 1;
                    return self.merge(&source.handle, &found, &target.shown, depth);
                }
                Existing::Place { replace } => replace,
            };
            if !made {
                unnamed = self.unnamed(source, target).map_err(failed)?;
                made = unnamed.is_some();
            }
            let placed = if let Some(file) = &unnamed {
                unnamed::place(file, target, replace)
            } else {
                let aside = self.staging_beside(target, staging).map_err(failed)?;
                if !made {
                    let (parent, shown) = (aside.directory(), &target.shown);
                    let making = self.make(source, parent, ONLY.as_ref(), shown, depth);
                    if !making.map_err(failed)? {
                        return Ok(());
                    }
                    made = true;
                }
                aside.place(target, replace)
            };
            match placed {
                Ok(()) => {
                    if let Some(file) = unnamed {
                        self.links.note(&source.stat, file);
                    }
                    return Ok(());
                }
                // Another process created or removed something there.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => {}
                // A mount point, such as /etc/hosts: only its content can be replaced.
                Err(Errno::BUSY) if is_file(source) => {
                    staging.iter().for_each(Staging::discard);
                    let written = self.overwrite(source, target);
                    return written.map_err(|errno| failed(errno.into()));
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(failed(Errno::AGAIN.into()))
    }

    fn staging_beside<'p>(
        &mut self,
        target: &Target,
        staging: &'p mut Option<Staging>,
    ) -> Result<&'p Staging, Failure> {
        if staging.is_none() {
            let made = self.in_directory(|user| Staging::make(&target.directory, user))?;
            self.excluded.insert(made.identity());
            *staging = Some(made);
        }
        // It was created above if it did not exist.
        staging.as_ref().ok_or(Failure::Kernel(Errno::BADF))
    }

    /// Creates a file in the destination as a user that has an id there.
    fn in_directory<T>(&mut self, make: impl Fn(u32) -> Result<T, Errno>) -> Result<T, Failure> {
        let ours = rustix::process::geteuid().as_raw();
        match make(
            self.file_owner
                .as_ref()
                .map_or(ours, |file_owner| file_owner.user),
        ) {
            // The host's root has no id there.
            Err(Errno::OVERFLOW) if self.options.inward && self.file_owner.is_none() => {
                let owner = self.options.owner;
                self.file_owner = Some(FileOwner::assume(owner)?);
                Ok(make(owner.0)?)
            }
            made => Ok(made?),
        }
    }

    /// Copies a regular file to one without a name; `None` if it has to be created in a staging directory.
    fn unnamed(
        &mut self,
        source: &SourceFile,
        target: &Target,
    ) -> Result<Option<OwnedFd>, Failure> {
        let SourceFile { handle, stat, .. } = source;
        if !is_file(source) || self.links.knows(stat) {
            return Ok(None);
        }
        let Some(made) = self.in_directory(|_| unnamed::make(&target.directory))? else {
            return Ok(None);
        };
        let from = match reopen(handle, OFlags::RDONLY) {
            Err(errno) if has_vanished(errno) => return Ok(None),
            other => other?,
        };
        self.copied.bytes += content::copy(&from, stat.st_size as u64, &made, self.stop)?;
        metadata::apply(&self.options, handle, stat, &made)?;
        self.copied.files += 1;
        Ok(Some(made))
    }

    /// Replaces the content of a regular file and keeps its inode.
    fn overwrite(&mut self, source: &SourceFile, target: &Target) -> Result<(), Errno> {
        let (handle, stat) = entry::open(&target.directory, &target.name)?;
        if !is_file(source) || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::BUSY);
        }
        let from = reopen(&source.handle, OFlags::RDONLY)?;
        let to = reopen(&handle, OFlags::WRONLY | OFlags::TRUNC)?;
        self.copied.bytes += content::copy(&from, source.stat.st_size as u64, &to, self.stop)?;
        Ok(())
    }
}

fn is_file(source: &SourceFile) -> bool {
    FileType::from_raw_mode(source.stat.st_mode) == FileType::RegularFile
}
