//! The null device, and other files of the host that a container may use but not change.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, makedev, openat, openat2,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mount::{Attributes, descriptor_path, set_attributes};

/// 1:3, linux/Documentation/admin-guide/devices.txt.
pub(super) fn null_device() -> u64 {
    makedev(1, 3)
}

/// Whether the file is a null device, on any file system.
pub fn is_null(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
        && found.st_rdev == null_device()
}

/// Opens a file of the host on a detached read-only mount of its own. It must not be a directory.
pub fn behind_read_only_mount(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    let read_only = Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..Attributes::default()
    };
    set_attributes(tree.as_fd(), &read_only, false)?;
    Ok(tree)
}

/// Opens a device or pipe of the host for a container that must not change its metadata.
pub fn open_unchangeable(path: &CStr) -> Result<OwnedFd, Errno> {
    reopen(&behind_read_only_mount(path)?)
}

/// The host's /dev/null, for a container that has no null device of its own.
pub fn host_null() -> Result<OwnedFd, Errno> {
    open_unchangeable(c"/dev/null")
}

/// Opens the null device below the root directory of a running container, or the host's if the container has put another file
/// there. The file that is opened is the one that was checked, and no link is followed.
pub fn null_of(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(root, c"dev/null", flags, Mode::empty(), resolve);
    match found {
        Ok(found) if is_null(&fstat(&found)?) => reopen(&found).or_else(|_| host_null()),
        _ => host_null(),
    }
}

/// Opens the file of a descriptor for reading and writing. Needs the host's /proc.
fn reopen(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut text = [0u8; 32];
    let name = descriptor_path(&mut text, file.as_raw_fd());
    openat(CWD, name, flags, Mode::empty())
}
