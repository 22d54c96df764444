//! Makes the mounts. In the child, before it changes its root.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::target::{Inside, Wanted, mount_of, open_real_directory};
use super::{Kind, MountStep, Target};
use crate::channel::{Failed, Step};
use crate::sys::mount::{Attributes, set_attributes};

/// What was mounted so far.
pub(crate) struct Mounted {
    /// For each step that made a file system.
    steps: Vec<Option<OwnedFd>>,
    /// The container's own null device, open for reading and writing.
    pub null: Option<OwnedFd>,
    /// Which step made the file system on /dev.
    dev: Option<usize>,
    /// The file system that the controllers of v1 are mounted in.
    groups: Option<OwnedFd>,
    /// Files written by [`write_texts`] and not attached yet, with the steps they are of.
    pub texts: Vec<(usize, OwnedFd)>,
    /// The mounts of volumes, by number, and the steps that made them, if there is more than one volume.
    volumes: Vec<(u64, usize)>,
    several_volumes: bool,
}

/// What is said of a place where another volume is mounted already. No call made here says so by itself.
pub(crate) const TAKEN: Errno = Errno::ALREADY;

impl Mounted {
    /// Room for these steps. `dev` is the one that makes the file system on /dev, if there is to be one.
    pub fn with_capacity(steps: &[MountStep], dev: Option<usize>) -> Self {
        Self {
            steps: Vec::with_capacity(steps.len()),
            null: None,
            dev,
            groups: None,
            texts: vec![],
            volumes: vec![],
            several_volumes: steps.iter().filter(|step| step.is_volume()).count() > 1,
        }
    }

    /// Whether a mount on `place` would hide another volume, by way of a symbolic link: one place by two names. That of one
    /// name twice is said outright, and the later one is meant.
    fn hides(&self, place: &OwnedFd, step: &MountStep, steps: &[MountStep]) -> Result<bool, Errno> {
        if self.volumes.is_empty() {
            return Ok(false);
        }
        let (number, is_root) = mount_of(place.as_fd())?;
        let other = |(known, index): &(u64, usize)| {
            *known == number && steps[*index].destination != step.destination
        };
        Ok(is_root && self.volumes.iter().any(other))
    }

    /// Where the places of mounts are found.
    pub fn inside<'a>(&'a self, root: BorrowedFd<'a>) -> Inside<'a> {
        let dev = self.dev.and_then(|step| self.get(step));
        Inside {
            root,
            made: [dev, self.groups.as_ref().map(AsFd::as_fd)],
        }
    }

    /// The file system made by a step.
    pub fn get(&self, step: usize) -> Option<BorrowedFd<'_>> {
        self.steps.get(step)?.as_ref().map(AsFd::as_fd)
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
    let attributes = MountAttrFlags::from_bits_retain(step.options.of_new());
    let failed = |errno| Step::Mount.failed(index)(errno);
    let made = match &step.kind {
        Kind::Filesystem { name, source } => {
            let made = filesystem(name, Some(source), &step.options.data, attributes);
            let made = made.map_err(failed)?;
            attach(root, steps, index, &made, Wanted::Directory, mounted)?;
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
            let tree = tree.as_ref().ok_or(Errno::BADF).map_err(failed)?;
            attach(root, steps, index, tree, wanted, mounted)?;
            None
        }
        Kind::Text { .. } => {
            let written = mounted.texts.iter().position(|(step, _)| *step == index);
            let (_, file) = mounted
                .texts
                .swap_remove(written.ok_or(Errno::BADF).map_err(failed)?);
            attach(root, steps, index, &file, Wanted::File, mounted)?;
            std::mem::forget(file);
            None
        }
        Kind::Cgroup { controllers } => {
            if box_host::cgroup::is_unified() {
                let made = filesystem(c"cgroup2", Some(c"cgroup"), &[], attributes);
                let made = made.map_err(failed)?;
                attach(root, steps, index, &made, Wanted::Directory, mounted)?;
            } else {
                legacy(root, steps, index, controllers, attributes, mounted)?;
            }
            None
        }
    };
    mounted.steps.push(made);
    Ok(())
}

/// Writes the files that are kept in memory to the file system on /dev, which has a size, as container and host share what memory
/// there is. They lie where /dev/shm will be mounted: out of sight, but for where they are mounted themselves. To be called
/// when nothing else is mounted there.
pub(crate) fn write_texts(
    dev: BorrowedFd<'_>,
    steps: &[MountStep],
) -> Result<Vec<(usize, OwnedFd)>, (usize, Errno)> {
    let mut written = vec![];
    for (index, step) in steps.iter().enumerate() {
        if let Kind::Text { name, text } = &step.kind {
            if written.is_empty() {
                make_below(dev, c"shm", Wanted::Directory).map_err(|errno| (index, errno))?;
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

/// A new file system, attached nowhere yet.
pub fn filesystem(
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
    steps: &[MountStep],
    index: usize,
    mount: &OwnedFd,
    wanted: Wanted,
    mounted: &mut Mounted,
) -> Result<(), Failed> {
    let step = &steps[index];
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let no_place = |errno| Step::MountTarget.failed(index)(errno);
    match &step.target {
        Target::Below { step: base, name } => {
            let base = mounted.get(*base).ok_or(Errno::BADF).map_err(no_place)?;
            make_below(base, name, wanted).map_err(no_place)?;
            move_mount(mount, c"", base, name.as_c_str(), flags)
                .map_err(Step::Mount.failed(index))?;
        }
        Target::Inside(path) | Target::InsideNoLinks(path) => {
            let place = match &step.target {
                Target::InsideNoLinks(_) if wanted == Wanted::Directory => {
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
    if !matches!(step.kind, Kind::Bind { .. } | Kind::Text { .. }) && own | tree != 0 {
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

/// A tmpfs with a directory for each v1 controller that the container has a group in. It is a view for programs that
/// read their limits: a controller that cannot be mounted is left out.
fn legacy(
    root: BorrowedFd<'_>,
    steps: &[MountStep],
    index: usize,
    controllers: &[std::ffi::CString],
    attributes: MountAttrFlags,
    mounted: &mut Mounted,
) -> Result<(), Failed> {
    let writable = attributes.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let mode = [(c"mode".to_owned(), Some(c"755".to_owned()))];
    let base = filesystem(c"tmpfs", Some(c"cgroup"), &mode, writable)
        .map_err(Step::Mount.failed(index))?;
    attach(root, steps, index, &base, Wanted::Directory, mounted)?;
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
