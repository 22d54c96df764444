//! Files with several names.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Stat};

use super::entry::{Identity, identity};

/// Copies of files that have more names than one, so that they have as many.
#[derive(Default)]
pub(super) struct Links {
    made: HashMap<Identity, Made>,
}

struct Made {
    file: OwnedFd,
    /// Names that were not come across yet.
    left: u64,
}

/// Copies held open; of files beyond, each name becomes a file of its own.
const MOST_LINKED: usize = 256;

impl Links {
    pub(super) fn note(&mut self, stat: &Stat, file: OwnedFd) {
        if stat.st_nlink > 1 && self.made.len() < MOST_LINKED {
            #[allow(clippy::unnecessary_cast)] // 32 bits on aarch64
            let left = (stat.st_nlink - 1) as u64;
            self.made.insert(identity(stat), Made { file, left });
        }
    }

    /// Whether a copy of this file has been made already.
    pub(super) fn knows(&self, stat: &Stat) -> bool {
        self.made.contains_key(&identity(stat))
    }

    /// Gives the copy of this file another name. By its descriptor: nothing that has the copy's name by now is linked instead.
    pub(super) fn link(&mut self, stat: &Stat, parent: &OwnedFd, name: &OsStr) -> bool {
        if stat.st_nlink < 2 {
            return false;
        }
        let key = identity(stat);
        let Some(made) = self.made.get_mut(&key) else {
            return false;
        };
        // Not on another file system, nor where the owner of the copy's place has taken it away.
        let linked = rustix::fs::linkat(&made.file, "", parent, name, AtFlags::EMPTY_PATH).is_ok();
        made.left -= 1;
        if made.left == 0 {
            self.made.remove(&key);
        }
        linked
    }
}
