//! Plain files that have no name until they are whole: a copy that is killed leaves nothing of them, and nobody can swap them.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::entry::Target;
use super::staging::names::random_name;
use crate::files::descriptor::path_of;

/// Makes one on the file system of a directory; none where there are no such files (`O_TMPFILE`, open(2)).
pub(super) fn make(directory: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, c".", flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        made => made.map(Some),
    }
}

/// Gives it its name; in the stead of what is there only where `replace` says so. [`Errno::AGAIN`]: somebody took it away.
///
/// It is finished by then. To replace something it needs a name of its own for a moment; the owner of the directory who puts
/// another file there has put a file of theirs in their own directory.
pub(super) fn place(file: &OwnedFd, target: &Target, replace: bool) -> Result<(), Errno> {
    let directory = &target.directory;
    let link = |name: &std::ffi::OsStr| {
        rustix::fs::linkat(CWD, path_of(file), directory, name, AtFlags::SYMLINK_FOLLOW)
    };
    let unavailable = |errno| match errno {
        // A file whose last name is gone gets no other one, linkat(2).
        Errno::NOENT => Errno::AGAIN,
        errno => errno,
    };
    if !replace {
        return link(&target.name).map_err(unavailable);
    }
    let aside = loop {
        let aside = random_name()?;
        match link(aside.as_ref()) {
            Err(Errno::EXIST) => {}
            other => break other.map(|()| aside).map_err(unavailable)?,
        }
    };
    let renamed = rustix::fs::renameat(directory, &aside, directory, &target.name);
    if renamed.is_err() {
        // What failed before is what is told.
        let _ = rustix::fs::unlinkat(directory, &aside, AtFlags::empty());
    }
    renamed.map_err(unavailable)
}
