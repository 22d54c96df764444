//! Hard links.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Stat};

use super::entry::{Identity, identity};

/// Copies of files with several names, which get as many names.
#[derive(Default)]
pub(super) struct HardLinks {
    made: HashMap<Identity, Made>,
}

struct Made {
    file: OwnedFd,
    /// Names that were not copied yet.
    left: u64,
}

/// The most copies that are held open. Beyond that each name becomes a separate file.
const MOST_LINKED: usize = 256;

impl HardLinks {
    pub(super) fn note(&mut self, stat: &Stat, file: OwnedFd) {
        if stat.st_nlink > 1 && self.made.len() < MOST_LINKED {
            #[allow(clippy::unnecessary_cast)] // 32 bits on aarch64
            let left = (stat.st_nlink - 1) as u64;
            self.made.insert(identity(stat), Made { file, left });
        }
    }

    /// Whether this file has been copied already.
    pub(super) fn knows(&self, stat: &Stat) -> bool {
        self.made.contains_key(&identity(stat))
    }

    /// Gives the copy of this file another name. It is linked by its descriptor, so no other file can be linked instead.
    pub(super) fn link(&mut self, stat: &Stat, parent: &OwnedFd, name: &OsStr) -> bool {
        if stat.st_nlink < 2 {
            return false;
        }
        let key = identity(stat);
        let Some(made) = self.made.get_mut(&key) else {
            return false;
        };
        // Fails on another file system, or if the owner of the directory has removed the copy.
        let linked = rustix::fs::linkat(&made.file, "", parent, name, AtFlags::EMPTY_PATH).is_ok();
        made.left -= 1;
        if made.left == 0 {
            self.made.remove(&key);
        }
        linked
    }
}
