//! The mounts of a stopped container, mounted again to access its files.
//!
//! Volumes and the files that box generates (`/etc/resolv.conf` and the like) are mounted as in the running container. If a source is
//! gone, or was a file system in memory, an empty read-only file system is mounted instead, and accesses to it are refused with the
//! reason, so that nobody mistakes a mount point for the file (moby#9998).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount,
};

use crate::Error;
use crate::copy::Unavailable;
use box_run::mounts::{filesystem, reopen};
use box_run::sys::mount::{Attributes, set_attributes};

/// Mounts what the spec mounts on this root directory, in the private mount namespace of the caller. `mounted` is the path of the
/// directory, and `bundle` that of the generated files.
pub(super) fn mount(
    root: &OwnedFd,
    mounted: &Path,
    spec: &Spec,
    bundle: &Path,
    userns: Option<BorrowedFd<'_>>,
) -> Result<Vec<Unavailable>, Error> {
    let mut unavailable = vec![];
    for mount in spec.mounts().iter().flatten() {
        let failed = |errno: Errno| Error::io("mount", mount.destination(), errno);
        let Some(place) = place(root, mount.destination()).map_err(failed)? else {
            // The container was never started.
            continue;
        };
        for reopened in reopen(bundle, mount, userns)? {
            let text = mount.destination().display();
            let (why, expected) = match (reopened.source, reopened.tree) {
                (_, Ok(Some(tree))) if attach(&tree, &place).is_ok() => continue,
                (Some(_), Err(why)) => (format!("{text} is a mount point: {why}"), false),
                (Some(source), Ok(_)) => {
                    let source = source.display();
                    let why = format!("{text} is a mount point, and {source} has changed since");
                    (why, false)
                }
                (None, _) => {
                    let why = format!(
                        "{text} is a mount point whose content exists only while the container runs"
                    );
                    (why, true)
                }
            };
            let device = stand_in(&place, mounted).map_err(failed)?;
            unavailable.push(Unavailable {
                device,
                why,
                expected,
            });
        }
    }
    Ok(unavailable)
}

/// The mount point, resolved as at the start of the container.
fn place(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn attach(mount: impl AsFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}

/// Mounts an empty directory or file on the mount point and returns the device of its file system. `scratch` is a directory that is
/// not accessed by path meanwhile.
fn stand_in(place: &OwnedFd, scratch: &Path) -> Result<u64, Errno> {
    let made = filesystem(c"tmpfs", Some(c"box"), &[], MountAttrFlags::empty())?;
    let stat = rustix::fs::fstat(&made)?;
    let directory = FileType::from_raw_mode(rustix::fs::fstat(place)?.st_mode).is_dir();
    let shown = match directory {
        true => made,
        false => file_of(&made, scratch)?,
    };
    let read_only = Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..Attributes::default()
    };
    set_attributes(shown.as_fd(), &read_only, false)?;
    attach(&shown, place)?;
    Ok(stat.st_dev)
}

/// A mount of an empty file of a new file system. Before Linux 6.15 the file system has to be attached for that.
fn file_of(made: &OwnedFd, scratch: &Path) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o444);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(made, "file", flags, mode)?;
    let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(made, c"", rustix::fs::CWD, scratch, from)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(made, "file", flags);
    unmount(scratch, UnmountFlags::DETACH)?;
    file
}
