//! Regular files without a name until they are complete: a killed copy leaves nothing behind, and nobody can swap them.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::entry::Target;
use super::staging::names::random_name;
use crate::files::descriptor::path_of;

/// Creates one on the file system of a directory; `None` if that has no support for it (`O_TMPFILE`, open(2)).
pub(super) fn make(directory: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, c".", flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        made => made.map(Some),
    }
}

/// Links a complete file to its name. An existing file is replaced only if `replace` is set. [`Errno::AGAIN`]: another process removed
/// the file.
///
/// To replace a file it needs a temporary name for a moment. If the owner of the directory puts another file there, they have only
/// put a file of theirs in their own directory.
pub(super) fn place(file: &OwnedFd, target: &Target, replace: bool) -> Result<(), Errno> {
    let directory = &target.directory;
    let link = |name: &std::ffi::OsStr| {
        rustix::fs::linkat(CWD, path_of(file), directory, name, AtFlags::SYMLINK_FOLLOW)
    };
    let unavailable = |errno| match errno {
        // A file whose last name was removed cannot be linked again, linkat(2).
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
        // The first failure is the one to report.
        let _ = rustix::fs::unlinkat(directory, &aside, AtFlags::empty());
    }
    renamed.map_err(unavailable)
}
