//! Masked and read-only paths. In the child, after the mounts and before it changes its root.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, stat};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind_recursive,
    move_mount, open_tree,
};

use super::destination::normal;
use super::filesystem::filesystem;
use super::mounted::Mounted;
use super::step::{MountKind, MountStep};
use crate::Error;
use crate::devices::null::behind_read_only_mount;
use crate::error::c_string;
use crate::sys::mount::{Attributes, descriptor_path, set_attributes_of};

/// A path that is masked or made read-only.
#[derive(Debug)]
pub(crate) struct RestrictedPath {
    /// The step that mounted the file system of the path, if that is proc or sysfs, which no image can change.
    base: Option<usize>,
    /// Relative to that file system, or to the root file system.
    path: CString,
}

impl RestrictedPath {
    /// Determines how the child will reach each path.
    pub fn plan(paths: &[String], mounts: &[MountStep]) -> Result<Vec<Self>, Error> {
        paths.iter().map(|path| Self::one(path, mounts)).collect()
    }

    fn one(path: &str, mounts: &[MountStep]) -> Result<Self, Error> {
        let path = normal(path.as_ref())?;
        let above = mounts
            .iter()
            .enumerate()
            .rev()
            .find(|(_, step)| path.starts_with(&step.destination));
        if let Some((index, step)) = above
            && let MountKind::Filesystem { name, .. } = &step.kind
            && matches!(name.to_bytes(), b"proc" | b"sysfs")
            && let Ok(below) = path.strip_prefix(&step.destination)
            && !below.as_os_str().is_empty()
        {
            return Ok(Self {
                base: Some(index),
                path: c_string(below.as_os_str().as_encoded_bytes())?,
            });
        }
        let below = path.strip_prefix("/").unwrap_or(&path);
        Ok(Self {
            base: None,
            path: c_string(below.as_os_str().as_encoded_bytes())?,
        })
    }

    /// Calls `act` with a name for the path: one relative to the working directory, which this function sets to procfs or sysfs, or
    /// one through the descriptor that it was opened as inside the root. A missing path is skipped.
    fn with_name(
        &self,
        root: BorrowedFd<'_>,
        mounted: &Mounted,
        current: &mut Option<usize>,
        act: impl FnOnce(&CStr) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let opened: OwnedFd;
        let mut text = [0u8; 32];
        let name = match self.base {
            Some(base) => {
                if *current != Some(base) {
                    rustix::process::fchdir(mounted.get(base).ok_or(Errno::BADF)?)?;
                    *current = Some(base);
                }
                self.path.as_c_str()
            }
            None => {
                opened = match mounted.inside(root).open(&self.path) {
                    Ok(opened) => opened,
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                    Err(errno) => return Err(errno),
                };
                descriptor_path(&mut text, opened.as_raw_fd())
            }
        };
        match act(name) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

/// Covers each path: a file with the container's null device, a directory with an empty read-only file system.
///
/// The device is the one made in the new /dev, by the descriptor it was opened as then, so neither an image nor a volume can have
/// replaced it (CVE-2025-31133). If there is none, the host's is used, on a read-only mount: a container may change the mode or
/// owner of a mask, and must not change the host's.
pub(crate) fn mask(
    root: BorrowedFd<'_>,
    paths: &[RestrictedPath],
    mounted: &Mounted,
) -> Result<(), (usize, Errno)> {
    let mut current = None;
    let mut empty = None;
    for (index, path) in paths.iter().enumerate() {
        // Checked first, because a mount of the wrong kind that fails costs more: the kernel waits to take it back.
        let cover = |name: &CStr| match FileType::from_raw_mode(stat(name)?.st_mode) {
            FileType::Directory => cover_directory(name, &mut empty),
            _ => cover_file(name, mounted.null.as_ref()),
        };
        path.with_name(root, mounted, &mut current, cover)
            .map_err(|errno| (index, errno))?;
    }
    Ok(())
}

fn cover_file(name: &CStr, null: Option<&OwnedFd>) -> Result<(), Errno> {
    let Some(null) = null else {
        let tree = behind_read_only_mount(c"/dev/null")?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        return move_mount(&tree, c"", CWD, name, flags);
    };
    let mut text = [0u8; 32];
    let null = descriptor_path(&mut text, null.as_raw_fd());
    mount(null, name, c"", MountFlags::BIND, None)
}

/// The first directory gets a new file system, and the others the same one.
fn cover_directory(name: &CStr, empty: &mut Option<OwnedFd>) -> Result<(), Errno> {
    let again;
    let tree = match empty {
        Some(first) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            again = open_tree(&*first, c"", flags)?;
            &again
        }
        None => {
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let mode = [(c"mode".to_owned(), Some(c"755".to_owned()))];
            empty.insert(filesystem(c"tmpfs", Some(c"tmpfs"), &mode, attributes)?)
        }
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(tree, c"", CWD, name, flags)
}

/// Makes each path and everything mounted below it read-only.
pub(crate) fn read_only(
    root: BorrowedFd<'_>,
    paths: &[RestrictedPath],
    mounted: &Mounted,
) -> Result<(), (usize, Errno)> {
    let mut current = None;
    for (index, path) in paths.iter().enumerate() {
        let cover = |name: &CStr| {
            mount_bind_recursive(name, name)?;
            let read_only = Attributes {
                set: libc::MOUNT_ATTR_RDONLY
                    | libc::MOUNT_ATTR_NOSUID
                    | libc::MOUNT_ATTR_NODEV
                    | libc::MOUNT_ATTR_NOEXEC,
                ..Attributes::default()
            };
            set_attributes_of(name, &read_only, true)
        };
        path.with_name(root, mounted, &mut current, cover)
            .map_err(|errno| (index, errno))?;
    }
    Ok(())
}
