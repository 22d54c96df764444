//! The user as whom a copy creates files, before it sets their owner.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::io::Errno;
use rustix::thread::{capabilities, set_capabilities};

/// While this value lives, files that the calling thread creates belong to another user. Nothing else changes.
///
/// A root file system with mapped ids cannot hold a file of the host's root, which has no id there (mount_setattr(2), "ID-mapped
/// mounts"): files are created as the container's root.
pub(super) struct FileOwner {
    before: (Uid, Gid),
    pub(super) user: u32,
}

impl FileOwner {
    pub(super) fn assume((user, group): (u32, u32)) -> Result<Self, Errno> {
        let held = capabilities(None)?;
        let before = (
            setfsuid(Uid::from_raw(user)),
            setfsgid(Gid::from_raw(group)),
        );
        let owner = Self { before, user };
        // setfsuid(2) drops the capabilities for files, capabilities(7).
        set_capabilities(None, held)?;
        Ok(owner)
    }
}

impl Drop for FileOwner {
    fn drop(&mut self) {
        setfsuid(self.before.0);
        setfsgid(self.before.1);
    }
}
