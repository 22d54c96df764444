//! Files of a bundle that are kept in the container's memory. In the child.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::place::{EntryKind, make_below};
use super::step::{MountKind, MountStep};
use crate::sys::mount::{Attributes, set_attributes};

/// Writes the files that are kept in memory to the file system on /dev, which has a size limit. They lie in the directory that
/// /dev/shm will be mounted on, and are visible only where they are mounted themselves. Must be called before anything is mounted
/// there.
pub(crate) fn write_texts(
    dev: BorrowedFd<'_>,
    steps: &[MountStep],
) -> Result<Vec<(usize, OwnedFd)>, (usize, Errno)> {
    let mut written = vec![];
    for (index, step) in steps.iter().enumerate() {
        if let MountKind::Text { name, text } = &step.kind {
            if written.is_empty() {
                make_below(dev, c"shm", EntryKind::Directory).map_err(|errno| (index, errno))?;
            }
            let file = write_text(dev, name, text, &step.options.own);
            written.push((index, file.map_err(|errno| (index, errno))?));
        }
    }
    Ok(written)
}

fn write_text(
    dev: BorrowedFd<'_>,
    name: &CStr,
    text: &[u8],
    attributes: &Attributes,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(dev, name, flags, Mode::from_raw_mode(0o644))?;
    if rustix::io::write(&file, text)? != text.len() {
        return Err(Errno::NOSPC);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(dev, name, flags)?;
    set_attributes(mount.as_fd(), attributes, false)?;
    Ok(mount)
}
