//! Whose files a copy makes, before it gives them an owner.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::io::Errno;
use rustix::thread::{capabilities, set_capabilities};

/// While this lives, new files of the calling thread belong to another user, and all else is as before.
///
/// A root file system that is shown with mapped ids cannot hold a file of the host's root, which has no id there
/// (mount_setattr(2), "ID-mapped mounts"): what is made there belongs to the container's root from the first moment on.
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
        // Those that have to do with files went with the user, capabilities(7).
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
