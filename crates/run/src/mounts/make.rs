//! Makes the mounts. In the child, before it changes its root.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::target::{Wanted, open_or_make, open_real_directory};
use super::{Kind, MountStep, Target};
use crate::channel::{Failed, Step};
use crate::sys::mount::{Attributes, set_attributes};

/// What was mounted so far: a descriptor for each step that made a file system.
pub(crate) struct Mounted(Vec<Option<OwnedFd>>);

impl Mounted {
    /// Room for this many steps.
    pub fn with_capacity(steps: usize) -> Self {
        Self(Vec::with_capacity(steps))
    }

    /// The file system made by a step.
    pub fn get(&self, step: usize) -> Option<BorrowedFd<'_>> {
        self.0.get(step)?.as_ref().map(AsFd::as_fd)
    }
}

/// Makes mount number `index` and remembers it.
pub(crate) fn make(
    root: BorrowedFd<'_>,
    steps: &[MountStep],
    index: usize,
    mounted: &mut Mounted,
) -> Result<(), Failed> {
    let step = &steps[index];
    let attributes = MountAttrFlags::from_bits_retain(step.options.own.set as u32);
    let made = match &step.kind {
        Kind::Filesystem { name, source } => {
            let made = filesystem(name, Some(source), &step.options.data, attributes)
                .map_err(Step::Mount.failed(index))?;
            attach(root, step, &made, Wanted::Directory, index, mounted)?;
            Some(made)
        }
        Kind::Bind {
            tree, is_directory, ..
        } => {
            let wanted = if *is_directory {
                Wanted::Directory
            } else {
                Wanted::File
            };
            // The parent opened it.
            let tree = tree
                .as_ref()
                .ok_or(Errno::BADF)
                .map_err(Step::Mount.failed(index))?;
            attach(root, step, tree, wanted, index, mounted)?;
            None
        }
        Kind::Cgroup { controllers } => {
            if is_unified() {
                let made = filesystem(c"cgroup2", Some(c"cgroup"), &[], attributes);
                let made = made.map_err(Step::Mount.failed(index))?;
                attach(root, step, &made, Wanted::Directory, index, mounted)?;
            } else {
                legacy(root, step, controllers, attributes, index, mounted)?;
            }
            None
        }
    };
    mounted.0.push(made);
    Ok(())
}

/// A new file system, attached nowhere yet.
pub(crate) fn filesystem(
    name: &CStr,
    source: Option<&CStr>,
    data: &[(std::ffi::CString, Option<std::ffi::CString>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = source {
        fsconfig_set_string(context.as_fd(), c"source", source)?;
    }
    for (key, value) in data {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(context.as_fd(), key.as_c_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    let made = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // Closed with everything else before the command, by one call.
    std::mem::forget(context);
    Ok(made)
}

fn attach(
    root: BorrowedFd<'_>,
    step: &MountStep,
    mount: &OwnedFd,
    wanted: Wanted,
    index: usize,
    mounted: &Mounted,
) -> Result<(), Failed> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    match &step.target {
        Target::Below { step: base, name } => {
            let base = mounted
                .get(*base)
                .ok_or(Errno::BADF)
                .map_err(Step::MountTarget.failed(index))?;
            make_below(base, name, wanted).map_err(Step::MountTarget.failed(index))?;
            move_mount(mount, c"", base, name.as_c_str(), flags)
                .map_err(Step::Mount.failed(index))?;
        }
        Target::Inside(path) | Target::InsideNoLinks(path) => {
            let place = match &step.target {
                Target::InsideNoLinks(_) if wanted == Wanted::Directory => {
                    open_real_directory(root, path)
                }
                _ => open_or_make(root, path, wanted),
            };
            let place = place.map_err(Step::MountTarget.failed(index))?;
            let flags = flags | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(mount, c"", &place, c"", flags).map_err(Step::Mount.failed(index))?;
            std::mem::forget(place);
        }
    }
    let (own, tree) = (step.options.own.propagation, step.options.tree.propagation);
    if !matches!(step.kind, Kind::Bind { .. }) && own | tree != 0 {
        let change = Attributes {
            propagation: own | tree,
            ..Attributes::default()
        };
        set_attributes(mount.as_fd(), &change, tree != 0).map_err(Step::Mount.failed(index))?;
    }
    Ok(())
}

/// The place in a file system of ours; in one of the kernel's it is there already.
fn make_below(base: BorrowedFd<'_>, name: &CStr, wanted: Wanted) -> Result<(), Errno> {
    let made = match wanted {
        _ if name.to_bytes().contains(&b'/') => return Ok(()),
        Wanted::Directory => mkdirat(base, name, Mode::from_raw_mode(0o755)),
        Wanted::File => openat(
            base,
            name,
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )
        .map(drop),
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Whether the host has v2 at the standard place; asked before the root changes.
fn is_unified() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs(c"/sys/fs/cgroup")
        .is_ok_and(|found| found.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// A tmpfs with a directory for each v1 controller that the container has a group in. It is a view for programs that
/// read their limits: a controller that cannot be mounted is left out.
fn legacy(
    root: BorrowedFd<'_>,
    step: &MountStep,
    controllers: &[std::ffi::CString],
    attributes: MountAttrFlags,
    index: usize,
    mounted: &Mounted,
) -> Result<(), Failed> {
    let writable = attributes.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let mode = [(c"mode".to_owned(), Some(c"755".to_owned()))];
    let base = filesystem(c"tmpfs", Some(c"cgroup"), &mode, writable)
        .map_err(Step::Mount.failed(index))?;
    attach(root, step, &base, Wanted::Directory, index, mounted)?;
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
    set_attributes(base.as_fd(), &change, false).map_err(Step::Mount.failed(index))
}
