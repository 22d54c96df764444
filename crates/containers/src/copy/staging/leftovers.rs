//! What a copy that was killed has left: swept by the next one that needs a directory aside in the same place.
//!
//! The name says nothing, as anybody may give a directory of ours such a name in a directory of theirs. What is taken away bears a
//! mark that only the host's root can set (`trusted.*`, xattr(7)), is locked by nobody, and is emptied by its descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::names::{BENEATH, ONLY, PREFIX};
use crate::copy::entry;
use crate::files::descriptor::path_of;
use crate::files::removal::remove_tree;

const MARK: &str = "trusted.box.copying";

/// So many names are looked at: a sweep is worth no more.
const MOST_NAMES: usize = 100_000;

/// Locks and marks a directory that was made just now. Where there are no locks or marks it is never taken for a leftover.
pub(super) fn claim(directory: &OwnedFd) {
    if lock(directory) {
        let marked = rustix::fs::setxattr(path_of(directory), MARK, b"1", XattrFlags::CREATE);
        if let Err(errno) = marked {
            tracing::debug!(%errno, "a directory for copies has no mark");
        }
    }
}

/// Takes away in a directory what copies have left there that are over. No failure: they are no concern of the copy at hand.
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
            // Nothing but an empty directory goes, whatever has the name by now.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Takes away what lies in a directory that copies are made in.
pub(super) fn empty(directory: &OwnedFd) {
    let removed = rustix::fs::unlinkat(directory, ONLY, AtFlags::empty());
    if removed == Err(Errno::ISDIR) {
        // What it says of failures is less than what led here.
        let _ = remove_tree(&Path::new(&path_of(directory)).join(ONLY));
    }
}

/// Opens and locks a directory that is a leftover.
fn leftover(parent: &OwnedFd, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat2(parent, name, flags, Mode::empty(), BENEATH)?;
    // Who makes one locks it before it is marked: one that has a mark and no lock is nobody's.
    rustix::fs::getxattr(path_of(&directory), MARK, &mut [0u8; 8][..])?;
    match lock(&directory) {
        true => Ok(directory),
        false => Err(Errno::AGAIN),
    }
}

fn lock(directory: &OwnedFd) -> bool {
    rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok()
}
