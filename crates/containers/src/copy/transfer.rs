//! The copying itself: from an open file to a name in an open directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::links::Links;
use super::place::{self, Identity, TRIES, Target, Tree, has_vanished};
use super::private::{ONLY, Private, open_made};
use super::way::{Way, way};
use super::{Copied, Options, content, creator::Creator, describe::describe, unnamed};
use crate::Error;
use crate::archive::reopen;

pub(super) struct Transfer<'a> {
    options: Options,
    from: &'a Tree,
    stop: &'a dyn Fn() -> bool,
    pub(super) copied: Copied,
    links: Links,
    /// Directories that the copy makes or is made in: those are not copied into themselves.
    own: HashSet<Identity>,
    entries: u64,
    creator: Option<Creator>,
}

/// An open file that is to be copied, as a mere handle.
pub(super) struct Original {
    pub(super) handle: OwnedFd,
    pub(super) stat: Stat,
    /// The device of the directory that it is in, where that is known.
    pub(super) device: Option<u64>,
}

/// The most files of one copy: a container can make new ones as fast as they are copied.
const MOST_ENTRIES: u64 = 10_000_000;

/// Directories within each other.
pub(super) const DEEPEST: usize = 1024;

/// A failure on the way: of the kernel, for the file at hand, or told already.
pub(super) enum Failure {
    Kernel(Errno),
    Told(Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl Failure {
    fn at(self, shown: &Path) -> Error {
        match self {
            Self::Told(error) => error,
            Self::Kernel(Errno::AGAIN) => Error::copying(
                "copy to",
                shown,
                "somebody takes away there what was made just now",
            ),
            Self::Kernel(Errno::INTR) => Error::copying("copy to", shown, "interrupted"),
            Self::Kernel(Errno::OVERFLOW) => Error::copying(
                "copy to",
                shown,
                "a directory holds more files than are copied",
            ),
            Self::Kernel(errno) => Error::io("copy to", shown, errno),
        }
    }
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        options: Options,
        from: &'a Tree,
        to: &Tree,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            options,
            from,
            stop,
            copied: Copied::default(),
            links: Links::default(),
            own: to.home().iter().copied().collect(),
            entries: 0,
            creator: None,
        }
    }

    /// Copies a file of any kind to a name, in the place of what is there; a directory is merged into one.
    pub(super) fn entry(&mut self, source: &Original, target: &Target) -> Result<(), Error> {
        self.put(source, target, &mut None, 0)
    }

    /// Copies what a directory holds into another.
    pub(super) fn content(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        shown: &Path,
    ) -> Result<(), Error> {
        self.merge(source, target, shown, 0)
    }

    /// Writes a file's content to what is open: a device, a pipe.
    pub(super) fn pour(
        &mut self,
        source: &Original,
        target: &OwnedFd,
        shown: &Path,
    ) -> Result<(), Error> {
        let poured = || -> Result<u64, Errno> {
            let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
            let path = crate::archive::magic(target);
            // Not without waiting: a pipe's reader may come later, as with cp(1).
            let to = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?;
            let from = reopen(&source.handle, OFlags::RDONLY)?;
            content::pour(&from, source.stat.st_size as u64, &to)
        };
        self.copied.bytes += poured().map_err(|errno| Failure::from(errno).at(shown))?;
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
        self.own.insert(place::identity(&stat));
        let Some((directory, device, names)) = self.list(source, shown)? else {
            return Ok(());
        };
        let mut private = None;
        for name in names {
            let Some(source) = self.look(&directory, device, &name, shown)? else {
                continue;
            };
            let directory = rustix::io::fcntl_dupfd_cloexec(target, 0).map_err(failed)?;
            let shown = shown.join(&name);
            let target = Target {
                directory,
                name,
                shown,
            };
            self.put(&source, &target, &mut private, depth + 1)?;
        }
        Ok(())
    }

    /// What is to be copied of a directory; none if it has gone.
    #[allow(clippy::type_complexity)]
    fn list(
        &mut self,
        source: &OwnedFd,
        shown: &Path,
    ) -> Result<Option<(OwnedFd, u64, Vec<OsString>)>, Error> {
        let listed = || -> Result<_, Errno> {
            let directory = place::directory(source)?;
            let device = rustix::fs::fstat(&directory)?.st_dev;
            let names = place::names(&directory)?;
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

    /// The next file of a directory that is copied; none if it is gone since that was listed, or is not to be copied.
    fn look(
        &mut self,
        directory: &OwnedFd,
        device: u64,
        name: &OsStr,
        shown: &Path,
    ) -> Result<Option<Original>, Error> {
        let (handle, stat) = match place::look(directory, name) {
            Ok(found) => found,
            Err(errno) if has_vanished(errno) => {
                self.copied.vanished += 1;
                return Ok(None);
            }
            Err(errno) => return Err(Error::io("open", &shown.join(name), errno)),
        };
        let own = self.own.contains(&place::identity(&stat));
        Ok((!own).then_some(Original {
            handle,
            stat,
            device: Some(device),
        }))
    }

    /// Counts a file; false if it is left out.
    fn takes(&mut self, source: &Original, shown: &Path, depth: usize) -> Result<bool, Failure> {
        if (self.stop)() {
            return Err(Errno::INTR.into());
        }
        self.entries += 1;
        if self.entries > MOST_ENTRIES || depth > DEEPEST {
            let why = match depth > DEEPEST {
                true => format!("directories are more than {DEEPEST} deep"),
                false => format!("more than {MOST_ENTRIES} files"),
            };
            return Err(Failure::Told(Error::copying("copy to", shown, why)));
        }
        let kind = FileType::from_raw_mode(source.stat.st_mode);
        let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let unknown = matches!(kind, FileType::Socket | FileType::Unknown);
        if unknown || device && !self.options.archive {
            self.copied.skipped += 1;
            return Ok(false);
        }
        Ok(kind == FileType::Directory || !self.is_hollow(source))
    }

    /// Whether a file or directory is the top of a file system of which nothing is copied.
    fn is_hollow(&mut self, source: &Original) -> bool {
        if source
            .device
            .is_none_or(|device| device == source.stat.st_dev)
        {
            return false;
        }
        if let Some(gone) = self.from.gone(&source.stat) {
            self.copied.lost(gone);
            return true;
        }
        place::is_kernels(&source.handle)
    }

    /// Copies to a name in a directory that may be anybody's.
    fn put(
        &mut self,
        source: &Original,
        target: &Target,
        private: &mut Option<Private>,
        depth: usize,
    ) -> Result<(), Error> {
        let failed = |failure: Failure| failure.at(&target.shown);
        if !self.takes(source, &target.shown, depth).map_err(failed)? {
            return Ok(());
        }
        let mut unnamed = None;
        let mut made = false;
        for _ in 0..TRIES {
            let replace = match way(source, target).map_err(failed)? {
                Way::Again => continue,
                Way::Done => {
                    self.copied.files += 1;
                    return Ok(());
                }
                Way::Mounted => {
                    self.copied.files += u64::from(!made);
                    let written = self.overwrite(source, target);
                    return written.map_err(|errno| failed(errno.into()));
                }
                Way::Merge(_) if self.is_hollow(source) => return Ok(()),
                Way::Merge(found) => {
                    self.copied.files += 1;
                    return self.merge(&source.handle, &found, &target.shown, depth);
                }
                Way::Place { replace } => replace,
            };
            if !made {
                unnamed = self.unnamed(source, target).map_err(failed)?;
                made = unnamed.is_some();
            }
            let placed = if let Some(file) = &unnamed {
                unnamed::place(file, target, replace)
            } else {
                let aside = self.aside(target, private).map_err(failed)?;
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
                // Somebody was faster.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => {}
                // A mount point, such as /etc/hosts: only its content can be replaced.
                Err(Errno::BUSY) if is_file(source) => {
                    private.iter().for_each(Private::discard);
                    let written = self.overwrite(source, target);
                    return written.map_err(|errno| failed(errno.into()));
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(failed(Errno::AGAIN.into()))
    }

    fn aside<'p>(
        &mut self,
        target: &Target,
        private: &'p mut Option<Private>,
    ) -> Result<&'p Private, Failure> {
        if private.is_none() {
            let made = self.in_directory(|user| Private::make(&target.directory, user))?;
            self.own.insert(made.identity());
            *private = Some(made);
        }
        // It was made above where it was not there.
        private.as_ref().ok_or(Failure::Kernel(Errno::BADF))
    }

    /// Makes something in the destination as a user who has an id there.
    fn in_directory<T>(&mut self, make: impl Fn(u32) -> Result<T, Errno>) -> Result<T, Failure> {
        let ours = rustix::process::geteuid().as_raw();
        match make(self.creator.as_ref().map_or(ours, |creator| creator.user)) {
            // The host's root has no id there.
            Err(Errno::OVERFLOW) if self.options.inward && self.creator.is_none() => {
                let owner = self.options.owner;
                self.creator = Some(Creator::become_owner(owner)?);
                Ok(make(owner.0)?)
            }
            made => Ok(made?),
        }
    }

    /// A copy of a plain file without a name; none where it has to be made aside.
    fn unnamed(&mut self, source: &Original, target: &Target) -> Result<Option<OwnedFd>, Failure> {
        let Original { handle, stat, .. } = source;
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
        describe(&self.options, handle, stat, &made)?;
        self.copied.files += 1;
        Ok(Some(made))
    }

    /// Replaces the content of a regular file that has to stay the one it is.
    fn overwrite(&mut self, source: &Original, target: &Target) -> Result<(), Errno> {
        let (handle, stat) = place::look(&target.directory, &target.name)?;
        if !is_file(source) || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::BUSY);
        }
        let from = reopen(&source.handle, OFlags::RDONLY)?;
        let to = reopen(&handle, OFlags::WRONLY | OFlags::TRUNC)?;
        self.copied.bytes += content::copy(&from, source.stat.st_size as u64, &to, self.stop)?;
        Ok(())
    }

    /// Makes a copy in a directory that nobody else can enter. False: what was to be copied has gone meanwhile.
    fn make(
        &mut self,
        source: &Original,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &Path,
        depth: usize,
    ) -> Result<bool, Failure> {
        let Original { handle, stat, .. } = source;
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
        describe(&self.options, handle, stat, &made)?;
        self.links.note(stat, made);
        self.copied.files += 1;
        Ok(true)
    }

    /// A directory with all that it holds.
    fn make_directory(
        &mut self,
        source: &Original,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &Path,
        depth: usize,
    ) -> Result<bool, Failure> {
        let hollow = self.is_hollow(source);
        let listed = match hollow {
            true => None,
            false => match self.list(&source.handle, shown).map_err(Failure::Told)? {
                None => return Ok(false),
                listed => listed,
            },
        };
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let made = open_made(parent, name)?;
        let stat = rustix::fs::fstat(&made)?;
        self.own.insert(place::identity(&stat));
        self.copied.files += 1;
        if let Some((directory, device, names)) = listed {
            for name in names {
                let shown = shown.join(&name);
                let looked = self.look(&directory, device, &name, &shown);
                let Some(child) = looked.map_err(Failure::Told)? else {
                    continue;
                };
                let failed = |failure: Failure| Failure::Told(failure.at(&shown));
                if self.takes(&child, &shown, depth + 1).map_err(failed)? {
                    self.make(&child, &made, &name, &shown, depth + 1)
                        .map_err(failed)?;
                }
            }
        }
        describe(&self.options, &source.handle, &source.stat, &made)?;
        Ok(true)
    }
}

fn is_file(source: &Original) -> bool {
    FileType::from_raw_mode(source.stat.st_mode) == FileType::RegularFile
}

/// Opens a link, pipe or device that was made by name: another of the same kind is as good, and nothing else is accepted.
fn made_node(parent: &OwnedFd, name: &OsStr, like: &Stat) -> Result<OwnedFd, Errno> {
    let (made, stat) = place::look(parent, name)?;
    let same = stat.st_mode & libc::S_IFMT == like.st_mode & libc::S_IFMT;
    let device = !FileType::from_raw_mode(stat.st_mode).is_symlink();
    if !same || device && stat.st_rdev != like.st_rdev {
        return Err(Errno::AGAIN);
    }
    Ok(made)
}
