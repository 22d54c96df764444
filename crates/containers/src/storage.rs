//! What becomes of a container's layers: an overlay over them, or where that cannot be had a copy of them.

mod mapped;
mod namespace;
pub(crate) mod overlay;
pub(crate) mod rootfs;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdir, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};
use serde::{Deserialize, Serialize};

use crate::files::removal;
use crate::storage::overlay::MOST_LAYERS;
use crate::{Error, files};
use box_run::namespaces::idmap;
use box_run::sys::mount::{Attributes, set_attributes};

/// What becomes of a container's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// They are stacked, and a directory of the container's own over them takes what it changes: nothing is copied.
    #[default]
    Overlay,
    /// The container has all of their files as its own.
    Copy,
}

/// Beside the containers, once an overlay was seen to work there. No container can have this name.
const WORKS: &str = ".overlay";

/// Where it is tried.
const TRIAL: &str = ".overlay.trial";

/// An overlay where the file system of `containers` and the kernel can do it for so many layers. Tried once: what was seen to work
/// is noted beside the containers. Otherwise the copy, with a warning.
pub(crate) fn choose(containers: &Path, layers: usize) -> Result<Storage, Error> {
    if layers > MOST_LAYERS {
        tracing::warn!(
            "the image has {layers} layers, and the kernel stacks {MOST_LAYERS} at most; the container gets a copy of its image's \
             files, as with --storage copy"
        );
        return Ok(Storage::Copy);
    }
    let works = containers.join(WORKS);
    if rustix::fs::access(&works, rustix::fs::Access::EXISTS).is_ok() {
        return Ok(Storage::Overlay);
    }
    files::create_private_dir(containers)?;
    // One at a time and in one place, so that what a killed one left goes with the next try.
    let _lock = lock(containers)?;
    let aside = containers.join(TRIAL);
    removal::remove_tree(&aside)?;
    if rustix::fs::access(&works, rustix::fs::Access::EXISTS).is_ok() {
        return Ok(Storage::Overlay);
    }
    let tried = try_overlay(&aside);
    removal::remove_tree(&aside)?;
    let errno = match tried {
        Ok(()) => {
            return match mkdir(&works, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(Storage::Overlay),
                Err(errno) => Err(Error::io("create directory", &works, errno)),
            };
        }
        Err(errno) => errno,
    };
    let why = match errno {
        // These say nothing about overlays: a copy would not fare better.
        Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE => {
            return Err(Error::io("try an overlay in", &aside, errno));
        }
        Errno::NODEV => "the kernel has no overlay file system".to_owned(),
        Errno::INVAL => "the file system cannot hold an overlay's upper directory".to_owned(),
        errno => std::io::Error::from(errno).kind().to_string(),
    };
    tracing::warn!(
        "no overlay can be had in {}: {why}; the container gets a copy of its image's files, as with --storage copy",
        containers.display()
    );
    Ok(Storage::Copy)
}

fn lock(dir: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(dir, flags, Mode::empty())
        .map_err(|errno| Error::io("open", dir, errno))?;
    flock(&place, FlockOperation::LockExclusive).map_err(|errno| Error::io("lock", dir, errno))?;
    Ok(place)
}

/// Makes an overlay that is mounted nowhere, deletes a directory of its lower layer and makes it anew: that takes a
/// whiteout, and the mark of an opaque directory.
fn try_overlay(dir: &Path) -> Result<(), Errno> {
    let mut opened = vec![];
    mkdir(dir, Mode::RWXU)?;
    for name in ["lower", "upper", "work", "lower/directory"] {
        mkdir(dir.join(name), Mode::RWXU)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        opened.push(rustix::fs::openat(
            CWD,
            dir.join(name),
            flags,
            Mode::empty(),
        )?);
    }
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, place) in ["lowerdir", "upperdir", "workdir"].iter().zip(&opened) {
        let place = format!("/proc/self/fd/{}", place.as_raw_fd());
        fsconfig_set_string(&context, *key, place.as_str())?;
    }
    for option in crate::storage::overlay::FIXED.split(',') {
        let (key, value) = option.split_once('=').ok_or(Errno::INVAL)?;
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    unlinkat(&mount, c"directory", AtFlags::REMOVEDIR)?;
    mkdirat(&mount, c"directory", Mode::RWXU)
}

/// A mount of a copy, attached nowhere: device nodes in it open nowhere, and where the container has a user namespace
/// the files' ids are shown as that namespace's.
pub(crate) fn open_copy(path: &Path, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)
        .map_err(|errno| Error::io("open the root file system", path, errno))?;
    let confined = Attributes {
        set: libc::MOUNT_ATTR_NODEV,
        propagation: libc::MS_PRIVATE,
        ..Attributes::default()
    };
    set_attributes(tree.as_fd(), &confined, false)
        .map_err(|errno| Error::io("make a mount without device nodes of", path, errno))?;
    if let Some(userns) = userns {
        idmap::map(tree.as_fd(), userns)
            .map_err(|errno| Error::io("map the ids of", path, errno))?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_overlay_is_tried_once_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let containers = dir.path().join("instances");
        // What one left that was killed.
        std::fs::create_dir_all(containers.join(TRIAL).join("work/work/#3")).unwrap();
        assert_eq!(choose(&containers, 1).unwrap(), Storage::Overlay);
        let names: Vec<_> = std::fs::read_dir(&containers)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [WORKS]);
        assert_eq!(choose(&containers, 1).unwrap(), Storage::Overlay);
    }
}
