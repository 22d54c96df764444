//! How a container uses its layers: through an overlay, or as a copy if overlays do not work.

mod mapped;
mod namespace;
pub(crate) mod overlay;
pub(crate) mod rootfs;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdir, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};
use serde::{Deserialize, Serialize};

use crate::files::descriptor::path_of;
use crate::files::removal;
use crate::storage::overlay::MOST_LAYERS;
use crate::{Error, files};
use box_run::namespaces::idmap;
use box_run::sys::mount::{Attributes, set_attributes};

/// How a container uses its layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// An overlay of the layers and an upper directory for changes.
    #[default]
    Overlay,
    /// A copy of all their files.
    Copy,
}

/// Exists beside the containers once an overlay has worked there. Not a valid name of a container.
const WORKS: &str = ".overlay";

/// The directory of the trial.
const TRIAL: &str = ".overlay.trial";

/// Chooses an overlay if the kernel and the file system of `containers` support one of `layers` layers, otherwise a copy, with a
/// warning. A successful trial is recorded beside the containers and not repeated.
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
    // One at a time and in one place, so that the next trial removes what a killed one left behind.
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
        // These are not about overlays: a copy would fail, too.
        Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE => {
            return Err(Error::io("try an overlay in", &aside, errno));
        }
        Errno::NODEV => "the kernel has no overlay file system".to_owned(),
        Errno::INVAL => {
            "the file system does not support the upper directory of an overlay".to_owned()
        }
        errno => std::io::Error::from(errno).kind().to_string(),
    };
    tracing::warn!(
        "overlays do not work in {}: {why}; the container gets a copy of its image's files, as with --storage copy",
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

/// Creates a detached overlay, then removes and recreates a directory of its lower layer: that needs a whiteout and the xattr of an
/// opaque directory.
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
        fsconfig_set_string(&context, *key, path_of(place).as_str())?;
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

/// A detached mount of a copy, with `nodev` and, if the container has a user namespace, with mapped ids.
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
        .map_err(|errno| Error::io("set nodev on the mount of", path, errno))?;
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
        // Left behind by a killed trial.
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
