//! Everything that one archive created in a plain tree over earlier layers: whiteouts only delete what earlier layers created.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directories::OPEN;
use super::{Doing, Failure, remove};

/// Hashes of directory identity and name, and of the identities of directories with anything of this archive in them, at any depth
/// (they may be of an earlier layer). They take about 16 bytes each and have a new key for each archive, so that nobody can craft
/// names that collide. They are kept in a tree, as a hash table takes three times its size while it grows.
#[derive(Default)]
pub(super) struct Made {
    keys: RandomState,
    names: BTreeSet<u64>,
    /// Directories in which nothing of earlier layers is left.
    cleared: HashSet<(u64, u64)>,
}

/// The most levels of directories to clear: each takes a descriptor and some of the thread's stack. By default names have fewer, but
/// links can lead to any depth.
const LEVELS: usize = 200;

impl Made {
    pub fn insert(&mut self, directory: (u64, u64), name: &[u8]) {
        self.names.insert(self.keys.hash_one((directory, name)));
    }

    fn contains(&self, directory: (u64, u64), name: &[u8]) -> bool {
        self.names.contains(&self.keys.hash_one((directory, name)))
    }

    fn holds(&self, directory: (u64, u64)) -> bool {
        self.names.contains(&self.keys.hash_one(directory))
    }

    /// Records that something was created in a directory: whiteouts must not delete it, nor its parents.
    pub fn hold(&mut self, dir: &OwnedFd, identity: (u64, u64)) -> Result<(), Errno> {
        let above = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut next = None;
        let mut identity = identity;
        // Up to a recorded one, or to the file system's root, which is its own parent.
        while self.names.insert(self.keys.hash_one(identity)) {
            let dir = next.as_ref().unwrap_or(dir);
            let up = rustix::fs::openat(dir, "..", above, Mode::empty())?;
            let stat = rustix::fs::fstat(&up)?;
            identity = (stat.st_dev, stat.st_ino);
            next = Some(up);
        }
        Ok(())
    }

    /// Removes what earlier layers have in a directory.
    pub fn clear_lower(&mut self, dir: &OwnedFd, identity: (u64, u64)) -> Result<(), Failure> {
        self.clear(dir, identity, 0)
    }

    fn clear(&mut self, dir: &OwnedFd, identity: (u64, u64), level: usize) -> Result<(), Failure> {
        if !self.cleared.insert(identity) {
            return Ok(());
        }
        let failed = |errno| Failure::Kernel("list the directory", errno);
        remove::each_name(dir, failed, |name| {
            self.remove_below(dir, identity, name, level)
        })
    }

    /// Removes what earlier layers have under a name in a directory. Returns whether the name is gone.
    pub fn remove_lower(
        &mut self,
        dir: &OwnedFd,
        identity: (u64, u64),
        name: &[u8],
    ) -> Result<bool, Failure> {
        self.remove_below(dir, identity, name, 0)
    }

    fn remove_below(
        &mut self,
        dir: &OwnedFd,
        identity: (u64, u64),
        name: &[u8],
        level: usize,
    ) -> Result<bool, Failure> {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.doing("look at what it removes")?,
        };
        let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        let own = (stat.st_dev, stat.st_ino);
        let made = self.contains(identity, name) || directory && self.holds(own);
        match (made, directory) {
            (true, false) => return Ok(false),
            (false, false) => {
                rustix::fs::unlinkat(dir, name, AtFlags::empty()).doing("remove what it names")?;
            }
            (false, true) => remove::tree(dir, name).doing("remove what it names")?,
            // Created or filled by this layer, but with files of lower layers in it.
            (true, true) => {
                if level == LEVELS {
                    return Err(Failure::Kernel(
                        "clear that many levels of directories",
                        Errno::NAMETOOLONG,
                    ));
                }
                let below = rustix::fs::openat(dir, name, OPEN, Mode::empty())
                    .doing("open what it names")?;
                let mtime = crate::entry::Time {
                    seconds: stat.st_mtime,
                    nanos: stat.st_mtime_nsec as u32,
                };
                self.clear(&below, own, level + 1)?;
                let times = crate::metadata::times(mtime);
                rustix::fs::futimens(&below, &times).doing("set the times of a directory")?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}
