//! The private directory in which copies are created, beside their destination.
//!
//! The destination's directory may belong to another user, who can rename files in it at any moment. A file that is created there by
//! name, and then given an owner and a mode by name, can be swapped for a file of that user in between. So every copy is created and
//! completed in a new directory that nobody else can enter, and moved to its destination by one rename.

mod leftovers;
pub(super) mod names;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::entry::{self, Identity, TRIES, Target};
use names::{BENEATH, ONLY, random_name};

/// A private directory in a directory that may belong to another user. Dropping it removes it with everything that is left in it.
pub(super) struct Staging {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    identity: Identity,
}

impl Staging {
    /// Creates a staging directory; `user` is the owner of files that this thread creates. [`Errno::AGAIN`]: another process removed
    /// each one before it could be opened.
    pub(super) fn make(parent: &OwnedFd, user: u32) -> Result<Self, Errno> {
        leftovers::sweep(parent);
        for _ in 0..TRIES {
            let name = random_name()?;
            match rustix::fs::mkdirat(parent, &name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(errno),
            }
            if let Some((directory, identity)) = own(parent, &name, user)? {
                leftovers::claim(&directory);
                return Ok(Self {
                    parent: rustix::io::fcntl_dupfd_cloexec(parent, 0)?,
                    name,
                    directory,
                    identity,
                });
            }
        }
        Err(Errno::AGAIN)
    }

    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Moves the copy to its destination. An existing file is replaced only if `replace` is set.
    pub(super) fn place(&self, target: &Target, replace: bool) -> Result<(), Errno> {
        let (from, to) = (&self.directory, &target.directory);
        if replace {
            return rustix::fs::renameat(from, ONLY, to, &target.name);
        }
        match rustix::fs::renameat_with(from, ONLY, to, &target.name, RenameFlags::NOREPLACE) {
            // Some file systems do not support flags.
            Err(Errno::INVAL) => rustix::fs::renameat(from, ONLY, to, &target.name),
            other => other,
        }
    }

    /// Removes a copy that was not moved.
    pub(super) fn discard(&self) {
        leftovers::empty(&self.directory);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.discard();
        // If another user has renamed it, they keep an empty directory.
        let removed = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
        if let Err(errno) = removed {
            tracing::debug!(name = self.name, %errno, "cannot remove a staging directory");
        }
    }
}

/// Opens a directory that was just created; `None` if it seems to be another one, because somebody else uses these names.
fn own(parent: &OwnedFd, name: &str, user: u32) -> Result<Option<(OwnedFd, Identity)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::openat2(parent, name, flags, Mode::empty(), BENEATH) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::AGAIN) => {
            return Ok(None);
        }
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&directory)?;
    let closed = stat.st_uid == user && stat.st_mode & 0o077 == 0;
    if closed && entry::names(&directory)?.is_empty() || is_ours_alone(parent)? {
        return Ok(Some((directory, entry::identity(&stat))));
    }
    Ok(None)
}

/// Whether nobody else can rename files in a directory. Some file systems have one mode for all their files.
fn is_ours_alone(directory: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(directory)?;
    let closed = stat.st_mode & 0o022 == 0 || stat.st_mode & 0o1000 != 0;
    Ok(stat.st_uid == rustix::process::geteuid().as_raw() && closed)
}

/// Opens a directory that was created in a private one.
pub(super) fn open_made(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), BENEATH)
}
