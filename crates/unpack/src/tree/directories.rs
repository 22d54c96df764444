//! The open directories of the tree, so that neighbours are created through one descriptor, and their modification times, which are
//! set when the descriptor is closed: after that, no child is created through it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::failure::{Doing, Failure};
use super::link_budget::LinkBudget;
use crate::entry::Time;
use crate::metadata::times;

/// The most descriptors kept open. Archives usually visit directories in depth-first order.
const KEPT: usize = 64;

/// How to open a directory by its name in an open one: never through a link.
pub(super) const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The most paths remembered for one directory. An archive can create any number of links to it.
const ALIASES: usize = 16;

/// How often a resolution is repeated that raced with a rename elsewhere, see `RESOLVE_IN_ROOT` in openat2(2).
const RACE_RETRIES: usize = 128;

/// The most recently used directories.
pub(super) struct Directories {
    root: Rc<OwnedFd>,
    links: Arc<LinkBudget>,
    open: Vec<Option<Open>>,
    by_path: HashMap<Box<[u8]>, usize>,
    clock: u64,
    last: Option<(Box<[u8]>, usize)>,
}

/// An open directory.
pub(super) struct Open {
    pub fd: Rc<OwnedFd>,
    /// Its final modification time, if it is to be set.
    pub mtime: Option<Time>,
    /// New files and directories in it inherit its group, and directories its setgid bit.
    pub setgid: bool,
    /// Device and inode, once they are known.
    identity: Option<(u64, u64)>,
    /// The paths by which it was found, some of them through symbolic links.
    paths: Vec<Box<[u8]>>,
    used: u64,
}

impl Open {
    /// A directory that was just created or found.
    pub fn new(fd: OwnedFd, mtime: Option<Time>, setgid: bool) -> Open {
        Open {
            fd: Rc::new(fd),
            mtime,
            setgid,
            identity: None,
            paths: Vec::new(),
            used: 0,
        }
    }

    pub fn identity(&mut self) -> Result<(u64, u64), Failure> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        let stat = rustix::fs::fstat(&*self.fd).doing("look at a directory")?;
        Ok(*self.identity.insert((stat.st_dev, stat.st_ino)))
    }

    /// Sets the times, which creating children would change.
    fn close(self) -> Result<(), Failure> {
        match self.mtime {
            Some(time) => {
                rustix::fs::futimens(&*self.fd, &times(time)).doing("set the times of a directory")
            }
            None => Ok(()),
        }
    }
}

impl Directories {
    pub fn new(root: OwnedFd, links: Arc<LinkBudget>) -> Directories {
        Directories {
            root: Rc::new(root),
            links,
            open: Vec::new(),
            by_path: HashMap::new(),
            clock: 0,
            last: None,
        }
    }

    /// The directory of a path, if it is open.
    pub fn get(&mut self, path: &[u8]) -> Option<usize> {
        let index = match &self.last {
            Some((last, index)) if **last == *path => *index,
            _ => {
                let index = *self.by_path.get(path)?;
                self.last = Some((path.into(), index));
                index
            }
        };
        self.clock += 1;
        let clock = self.clock;
        self.at(index).used = clock;
        Some(index)
    }

    /// Finds or opens the directory of a path. Symbolic links on the path are followed inside the tree only. Mounts in the tree are not
    /// entered.
    pub fn find(&mut self, path: &[u8]) -> Result<usize, Errno> {
        if let Some(index) = self.get(path) {
            return Ok(index);
        }
        let fd = self.resolve(path)?;
        let stat = rustix::fs::fstat(&fd)?;
        let identity = (stat.st_dev, stat.st_ino);
        // A directory with several paths must be kept once, because of its times.
        for (index, slot) in self.open.iter_mut().enumerate() {
            let Some(open) = slot else { continue };
            if open.identity().map_err(|_| Errno::IO)? == identity {
                if open.paths.len() == ALIASES {
                    self.by_path.remove(&open.paths.remove(0));
                }
                open.paths.push(path.into());
                self.by_path.insert(path.into(), index);
                return Ok(index);
            }
        }
        let mtime = Time {
            seconds: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        };
        let mut open = Open::new(fd, Some(mtime), stat.st_mode & 0o2000 != 0);
        open.identity = Some(identity);
        self.insert(path, open).map_err(|failure| match failure {
            Failure::Kernel(_, errno) => errno,
            Failure::Refused(_) | Failure::Stream(_) => Errno::IO,
        })
    }

    /// Adds a directory. The least recently used one may be closed for it.
    pub fn insert(&mut self, path: &[u8], mut open: Open) -> Result<usize, Failure> {
        self.clock += 1;
        open.used = self.clock;
        open.paths.push(path.into());
        let index = match self.open.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.open.len() < KEPT => {
                self.open.push(None);
                self.open.len() - 1
            }
            None => self.close_oldest()?,
        };
        self.open[index] = Some(open);
        self.by_path.insert(path.into(), index);
        self.last = Some((path.into(), index));
        Ok(index)
    }

    /// The open directory of an index that [`Directories::find`] or [`Directories::insert`] has just returned.
    pub fn at(&mut self, index: usize) -> &mut Open {
        self.open[index]
            .as_mut()
            .expect("indices are used before anything is closed")
    }

    /// Closes all directories but one, whose index stays valid. Needed before a directory or link in it is removed: paths may lead
    /// elsewhere afterwards.
    pub fn forget_paths(&mut self, kept: usize) -> Result<(), Failure> {
        self.by_path.clear();
        self.last = None;
        for (index, slot) in self.open.iter_mut().enumerate() {
            match slot {
                Some(open) if index == kept => open.paths.clear(),
                _ => slot.take().map_or(Ok(()), Open::close)?,
            }
        }
        Ok(())
    }

    /// Closes all directories and sets their times.
    pub fn close(mut self) -> Result<(), Failure> {
        self.open.drain(..).flatten().try_for_each(Open::close)
    }

    fn close_oldest(&mut self) -> Result<usize, Failure> {
        let used = |index: &usize| self.open[*index].as_ref().map_or(0, |open| open.used);
        let index = (0..self.open.len())
            .min_by_key(used)
            .expect("a full list is not empty");
        if let Some(oldest) = self.open[index].take() {
            for path in &oldest.paths {
                self.by_path.remove(path);
            }
            self.last = None;
            oldest.close()?;
        }
        Ok(index)
    }

    /// Whether a symbolic link is on a path. A missing component is not one.
    pub fn leads_through_link(&self, path: &[u8]) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        // `O_NOFOLLOW` would open a link at the very end. The slash makes it one on the path.
        let directory = [path, b"/"].concat();
        let opened = || rustix::fs::openat2(&*self.root, &*directory, flags, Mode::empty(), within);
        !path.is_empty() && matches!(opened(), Err(Errno::LOOP))
    }

    fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let open = |within| rustix::fs::openat2(&*self.root, path, flags, Mode::empty(), within);
        // Most paths have no links. Those with links are counted.
        match open(within | ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => self.links.followed(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
        let mut tries = 0;
        loop {
            match open(within) {
                Err(Errno::AGAIN) if tries < RACE_RETRIES => tries += 1,
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }
}
