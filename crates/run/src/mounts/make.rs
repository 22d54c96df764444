//! Makes the mounts. In the child, before it changes its root.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::filesystem::filesystem;
use super::mounted::{Mounted, TAKEN};
use super::place::{EntryKind, make_below, mount_of, open_real_directory};
use super::step::{MountKind, MountPoint, MountStep};
use crate::channel::{Failed, Step};
use crate::sys::mount::{Attributes, set_attributes};

/// Makes mount number `index` and records it.
pub(crate) fn make(
    root: BorrowedFd<'_>,
    steps: &[MountStep],
    index: usize,
    mounted: &mut Mounted,
) -> Result<(), Failed> {
    let step = &steps[index];
    let attributes = MountAttrFlags::from_bits_retain(step.options.of_new());
    let failed = |errno| Step::Mount.failed(index)(errno);
    let made = match &step.kind {
        MountKind::Filesystem { name, source } => {
            let made = filesystem(name, Some(source), &step.options.data, attributes);
            let made = made.map_err(failed)?;
            attach(root, steps, index, &made, EntryKind::Directory, mounted)?;
            Some(made)
        }
        MountKind::Bind {
            tree, is_directory, ..
        } => {
            let wanted = if *is_directory {
                EntryKind::Directory
            } else {
                EntryKind::File
            };
            // The parent opened it.
            let tree = tree.as_ref().ok_or(Errno::BADF).map_err(failed)?;
            attach(root, steps, index, tree, wanted, mounted)?;
            None
        }
        MountKind::Text { .. } => {
            let written = mounted.texts.iter().position(|(step, _)| *step == index);
            let (_, file) = mounted
                .texts
                .swap_remove(written.ok_or(Errno::BADF).map_err(failed)?);
            attach(root, steps, index, &file, EntryKind::File, mounted)?;
            // Closed with all other descriptors before the command is executed (see `init`); so is the mount point below.
            std::mem::forget(file);
            None
        }
        MountKind::Cgroup { controllers } => {
            if box_host::cgroup::is_unified() {
                let made = filesystem(c"cgroup2", Some(c"cgroup"), &[], attributes);
                let made = made.map_err(failed)?;
                attach(root, steps, index, &made, EntryKind::Directory, mounted)?;
            } else {
                legacy(root, steps, index, controllers, attributes, mounted)?;
            }
            None
        }
    };
    mounted.steps.push(made);
    Ok(())
}

fn attach(
    root: BorrowedFd<'_>,
    steps: &[MountStep],
    index: usize,
    mount: &OwnedFd,
    wanted: EntryKind,
    mounted: &mut Mounted,
) -> Result<(), Failed> {
    let step = &steps[index];
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let no_place = |errno| Step::MountTarget.failed(index)(errno);
    match &step.target {
        MountPoint::Below { step: base, name } => {
            let base = mounted.get(*base).ok_or(Errno::BADF).map_err(no_place)?;
            make_below(base, name, wanted).map_err(no_place)?;
            move_mount(mount, c"", base, name.as_c_str(), flags)
                .map_err(Step::Mount.failed(index))?;
        }
        MountPoint::Inside(path) | MountPoint::InsideNoLinks(path) => {
            let place = match &step.target {
                MountPoint::InsideNoLinks(_) if wanted == EntryKind::Directory => {
                    open_real_directory(root, path)
                }
                _ => mounted.inside(root).open_or_make(path, wanted),
            };
            let place = place.map_err(no_place)?;
            if step.is_volume() && mounted.hides(&place, step, steps).map_err(no_place)? {
                return Err(no_place(TAKEN));
            }
            let flags = flags | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(mount, c"", &place, c"", flags).map_err(Step::Mount.failed(index))?;
            std::mem::forget(place);
        }
    }
    if mounted.several_volumes && step.is_volume() {
        let (number, _) = mount_of(mount.as_fd()).map_err(Step::Mount.failed(index))?;
        mounted.volumes.push((number, index));
    }
    let (own, tree) = (step.options.own.propagation, step.options.tree.propagation);
    if !matches!(step.kind, MountKind::Bind { .. } | MountKind::Text { .. }) && own | tree != 0 {
        let change = Attributes {
            propagation: own | tree,
            ..Attributes::default()
        };
        set_attributes(mount.as_fd(), &change, tree != 0).map_err(Step::Mount.failed(index))?;
    }
    Ok(())
}

/// Mounts a tmpfs with a directory for each v1 controller that the container has a group in. Programs read their limits there; a
/// controller that cannot be mounted is left out.
fn legacy(
    root: BorrowedFd<'_>,
    steps: &[MountStep],
    index: usize,
    controllers: &[CString],
    attributes: MountAttrFlags,
    mounted: &mut Mounted,
) -> Result<(), Failed> {
    let writable = attributes.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let mode = [(c"mode".to_owned(), Some(c"755".to_owned()))];
    let base = filesystem(c"tmpfs", Some(c"cgroup"), &mode, writable)
        .map_err(Step::Mount.failed(index))?;
    attach(root, steps, index, &base, EntryKind::Directory, mounted)?;
    for controller in controllers {
        let flag = |name: &CStr| (name.to_owned(), None);
        let mut made = filesystem(c"cgroup", Some(c"cgroup"), &[flag(controller)], attributes);
        if made.is_err() && controller.as_c_str() == c"cpu" {
            made = filesystem(
                c"cgroup",
                Some(c"cgroup"),
                &[flag(c"cpu"), flag(c"cpuacct")],
                attributes,
            );
            if made.is_ok() {
                symlinkat(c"cpu", &base, c"cpu,cpuacct").map_err(Step::Mount.failed(index))?;
            }
        }
        let Ok(made) = made else { continue };
        mkdirat(&base, controller.as_c_str(), Mode::from_raw_mode(0o755))
            .map_err(Step::Mount.failed(index))?;
        move_mount(
            &made,
            c"",
            &base,
            controller.as_c_str(),
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(Step::Mount.failed(index))?;
    }
    let change = Attributes {
        set: attributes.bits().into(),
        ..Attributes::default()
    };
    set_attributes(base.as_fd(), &change, false).map_err(Step::Mount.failed(index))?;
    mounted.groups = Some(base);
    Ok(())
}
