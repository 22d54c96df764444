//! Staging directories that a killed copy left behind, removed by the next copy that needs one in the same directory.
//!
//! The name proves nothing, as the owner of the parent directory can rename any directory of box to it. Only a directory is removed
//! that has a mark which only the host's root can set (`trusted.*`, xattr(7)) and that nobody locks; it is emptied by its descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::names::{BENEATH, ONLY, PREFIX};
use crate::copy::entry;
use crate::files::descriptor::path_of;
use crate::files::removal::remove_tree;

const MARK: &str = "trusted.box.copying";

/// The most names that a sweep reads.
const MOST_NAMES: usize = 100_000;

/// Locks and marks a new directory. On a file system without locks or xattrs it is never taken for a leftover.
pub(super) fn claim(directory: &OwnedFd) {
    if lock(directory) {
        let marked = rustix::fs::setxattr(path_of(directory), MARK, b"1", XattrFlags::CREATE);
        if let Err(errno) = marked {
            tracing::debug!(%errno, "cannot mark a staging directory");
        }
    }
}

/// Removes the leftovers in a directory. Failures are ignored, as they have nothing to do with the copy at hand.
pub(super) fn sweep(parent: &OwnedFd) {
    let Ok(listing) = entry::directory(parent).and_then(Dir::new) else {
        return;
    };
    for entry in listing.take(MOST_NAMES).flatten() {
        let name = entry.file_name();
        if name.to_bytes().starts_with(PREFIX.as_bytes())
            && let Ok(directory) = leftover(parent, name)
        {
            empty(&directory);
            // Removes only an empty directory, whatever has the name by now.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes the content of a staging directory.
pub(super) fn empty(directory: &OwnedFd) {
    let removed = rustix::fs::unlinkat(directory, ONLY, AtFlags::empty());
    if removed == Err(Errno::ISDIR) {
        // The failure that led here matters more.
        let _ = remove_tree(&Path::new(&path_of(directory)).join(ONLY));
    }
}

/// Opens and locks a directory if it is a leftover.
fn leftover(parent: &OwnedFd, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat2(parent, name, flags, Mode::empty(), BENEATH)?;
    // A copy locks its directory before it marks it, so nobody uses one with a mark and no lock.
    rustix::fs::getxattr(path_of(&directory), MARK, &mut [0u8; 8][..])?;
    match lock(&directory) {
        true => Ok(directory),
        false => Err(Errno::AGAIN),
    }
}

fn lock(directory: &OwnedFd) -> bool {
    rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok()
}
