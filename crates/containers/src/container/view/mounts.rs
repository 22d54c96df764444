//! What was mounted in a stopped container, mounted again for those who look into it.
//!
//! Volumes and the files of ours (`/etc/resolv.conf` and its like) are there as they are in the container when it runs. Where one
//! cannot be had, because it is gone or was in memory alone, an empty read-only file system stands in its place, and what is
//! asked of that is refused with the reason: nobody takes a mount point for a file (moby#9998).

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

/// Mounts what the spec mounts on this root directory, in the mount namespace that the caller has for it alone. `mounted` is where
/// that directory is, and `bundle` where our own files are.
pub(super) fn mount(
    root: &OwnedFd,
    mounted: &Path,
    spec: &Spec,
    bundle: &Path,
    userns: Option<BorrowedFd<'_>>,
) -> Result<Vec<Unavailable>, Error> {
    let mut gone = vec![];
    for mount in spec.mounts().iter().flatten() {
        let failed = |errno: Errno| Error::io("mount", mount.destination(), errno);
        let Some(place) = place(root, mount.destination()).map_err(failed)? else {
            // It was not started yet.
            continue;
        };
        for reopened in reopen(bundle, mount, userns)? {
            let text = mount.destination().display();
            let (why, expected) = match (reopened.source, reopened.tree) {
                (_, Ok(Some(tree))) if attach(&tree, &place).is_ok() => continue,
                (Some(_), Err(why)) => (format!("{text} is a mount point: {why}"), false),
                (Some(source), Ok(_)) => {
                    let source = source.display();
                    let why = format!("{text} is a mount point, and {source} is not what it was");
                    (why, false)
                }
                (None, _) => {
                    let why =
                        format!("what is mounted on {text} is there while the container runs");
                    (why, true)
                }
            };
            let device = stand_in(&place, mounted).map_err(failed)?;
            gone.push(Unavailable {
                device,
                why,
                expected,
            });
        }
    }
    Ok(gone)
}

/// The place of a mount, as it was found when the container was started.
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

/// Puts an empty directory or file in the place, on a file system of its own, and says which. `scratch` is a directory that nobody
/// looks at by name.
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

/// A mount of an empty file of a new file system. That has to be attached somewhere for it, before Linux 6.15.
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
