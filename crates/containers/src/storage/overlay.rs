//! The overlay of a container: its layers, which are never written to, and an upper directory.
//!
//! Usually the parent mounts it detached with fsopen(2) and fsmount(2), while the child creates its network namespace: on ext4 either
//! takes half a millisecond. Values that are too long for fsconfig(2) the child passes to one mount(2), as a string of options. That
//! string is limited to a page, and commas, colons and backslashes in it are special. For other paths, and for long lists, the
//! directories are opened, and the working directory is `/proc/self/fd` during the mount: their paths are short numbers then, so that
//! as many layers as the kernel takes fit, on every kernel.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use box_unpack::{Layers, RaisedLimit};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::namespace::SeparateNamespace;
use crate::Error;
use box_run::error::c_string;

/// Options that do not depend on the container. With `index` and `metacopy` off and `redirect_dir=nofollow` the upper directory
/// contains only files that can be packed as a layer, and attributes in a hostile layer are ignored.
pub(crate) const FIXED: &str = "index=off,metacopy=off,redirect_dir=nofollow";

/// The longest string of options: one page with the terminating zero, mount(2).
const LONGEST: usize = 4095;

/// The most layers below an upper directory: `OVL_MAX_STACK` in the kernel's fs/overlayfs/params.h.
pub(crate) const MOST_LAYERS: usize = 500;

/// An overlay with valid options.
#[derive(Debug)]
pub(crate) struct Overlay {
    layers: Layers,
    upper: PathBuf,
    work: PathBuf,
    volatile: bool,
    /// The options for mount(2).
    options: CString,
    /// The directories that `options` names by descriptor number: the layers, the upper directory, the work directory.
    opened: Vec<OwnedFd>,
}

impl Overlay {
    /// An overlay of these layers. A `volatile` one is not synced when it is unmounted, for containers with `--rm`.
    pub fn new(
        layers: Layers,
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
    ) -> Result<Self, Error> {
        check_number(layers.len())?;
        let names: Vec<&[u8]> = layers.trees().map(bytes).collect();
        let options = options(&names, bytes(&upper), bytes(&work), volatile)?;
        Ok(Self {
            layers,
            upper,
            work,
            volatile,
            options,
            opened: vec![],
        })
    }

    /// The same with open layers, topmost last.
    pub fn of_trees(
        layers: Vec<OwnedFd>,
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
    ) -> Result<Self, Error> {
        check_number(layers.len())?;
        let mut overlay = Self {
            layers: Layers::default(),
            upper,
            work,
            volatile,
            options: CString::default(),
            opened: layers,
        };
        overlay.name_by_number()?;
        Ok(overlay)
    }

    /// Whether the paths do not fit into the string of options.
    pub fn needs_numbers(&self) -> bool {
        let own = [self.upper.as_path(), &self.work];
        let mut all = self.layers.trees().chain(own);
        let odd = |path: &Path| bytes(path).iter().any(|byte| b",:\\\"\n ".contains(byte));
        self.opened.is_empty() && (self.options.as_bytes().len() > LONGEST || all.any(odd))
    }

    /// The same with open directories. The kernel accepts only directories that were opened in the mount namespace of the mount.
    fn opened(&self) -> Result<Self, Error> {
        let layers = self.layers.open()?;
        Self::of_trees(layers, self.upper.clone(), self.work.clone(), self.volatile)
    }

    /// Mounts it in the caller's mount namespace.
    pub fn mount_here(&self, target: &Path) -> Result<(), Error> {
        let name = c_string(bytes(target))?;
        let mounted = match self.needs_numbers() {
            true => {
                let _limit = RaisedLimit::raise();
                self.opened()?.mount(&name)
            }
            false => self.mount(&name),
        };
        mounted.map_err(|errno| Error::io("mount the overlay on", target, errno))
    }

    /// Mounts it in the caller's mount namespace. Returns a detached clone of the mount.
    pub fn mount_and_take(&self, target: &Path) -> Result<OwnedFd, Error> {
        self.mount_here(target)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, target, flags)
            .map_err(|errno| Error::io("open the overlay on", target, errno))
    }

    /// Opens the upper and the work directory, and names all directories by their descriptor numbers.
    fn name_by_number(&mut self) -> Result<(), Error> {
        self.opened.extend([open(&self.upper)?, open(&self.work)?]);
        let numbers: Vec<String> = self
            .opened
            .iter()
            .map(|file| file.as_raw_fd().to_string())
            .collect();
        let mut names: Vec<&[u8]> = numbers.iter().map(String::as_bytes).collect();
        let own = names.split_off(names.len() - 2);
        self.options = options(&names, own[0], own[1], self.volatile)?;
        Ok(())
    }

    /// Mounts it on `target`, which is absolute. Called in the child; allocates nothing.
    ///
    /// With `nodev`, device nodes in a layer, or created by the command, cannot be opened, even on a host without control groups. If the
    /// directories are named by number, the working directory changes during the mount.
    pub fn mount(&self, target: &CStr) -> Result<(), Errno> {
        let mount = || {
            rustix::mount::mount(
                c"overlay",
                target,
                c"overlay",
                MountFlags::NODEV,
                self.options.as_c_str(),
            )
        };
        if self.opened.is_empty() {
            return mount();
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let before = rustix::fs::openat(CWD, c".", flags, Mode::empty())?;
        rustix::process::chdir(c"/proc/self/fd")?;
        let mounted = mount();
        rustix::process::fchdir(before)?;
        mounted
    }

    /// Whether the parent mounts it, with [`Overlay::detached`] or [`Overlay::mount_aside`], and not the child.
    pub fn can_be_detached(&self) -> bool {
        self.fits_fsconfig() || self.needs_numbers()
    }

    /// Whether each value fits into the 256 bytes of fsconfig(2).
    fn fits_fsconfig(&self) -> bool {
        const MOST: usize = 255;
        let layers = self.layers.trees().map(|path| path.as_os_str().len() + 1);
        !self.needs_numbers()
            && layers.sum::<usize>() <= MOST
            && [&self.upper, &self.work]
                .iter()
                .all(|path| path.as_os_str().len() <= MOST)
    }

    /// Mounts it on `target` in a temporary mount namespace. Returns a detached mount, on every kernel.
    pub fn mount_aside(&self, target: &Path) -> Result<OwnedFd, Error> {
        let separate = SeparateNamespace::enter()?;
        let made = self.mount_and_take(target);
        separate.leave()?;
        made
    }

    /// Mounts it detached, with fsopen(2) and fsmount(2), otherwise as [`Overlay::mount`]. `None` if the kernel does not support that;
    /// nothing has changed then.
    pub fn detached(&self) -> Result<Option<OwnedFd>, Errno> {
        let Ok(context) = self.context() else {
            return Ok(None);
        };
        // This changes the work directory, so that a second try would fail.
        fsconfig_create(context.as_fd())?;
        fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_NODEV,
        )
        .map(Some)
    }

    fn context(&self) -> Result<OwnedFd, Errno> {
        let names: Vec<&[u8]> = self.layers.trees().map(bytes).collect();
        let lower = lower(&names);
        let own = [
            ("lowerdir", lower.as_slice()),
            ("upperdir", self.upper.as_os_str().as_bytes()),
            ("workdir", self.work.as_os_str().as_bytes()),
        ];
        let fixed = FIXED.split(',').filter_map(|option| option.split_once('='));
        let fixed = fixed.map(|(key, value)| (key, value.as_bytes()));
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), c"source", c"overlay")?;
        for (key, value) in own.into_iter().chain(fixed) {
            fsconfig_set_string(context.as_fd(), key, value)?;
        }
        if self.volatile {
            fsconfig_set_flag(context.as_fd(), c"volatile")?;
        }
        Ok(context)
    }

    /// The options, for display.
    pub fn describe(&self) -> String {
        self.options.to_string_lossy().into_owned()
    }
}

fn check_number(layers: usize) -> Result<(), Error> {
    match layers {
        0 => Err(Error::spec("the image", "it has no layers")),
        1..=MOST_LAYERS => Ok(()),
        layers => Err(Error::TooManyLayers {
            layers,
            most: MOST_LAYERS,
        }),
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn open(path: &PathBuf) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Error::io("open directory", path, errno))
}

fn options(layers: &[&[u8]], upper: &[u8], work: &[u8], volatile: bool) -> Result<CString, Error> {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(b"lowerdir=");
    text.append(&mut lower(layers));
    for (key, path) in [("upperdir", upper), ("workdir", work)] {
        text.push(b',');
        text.extend_from_slice(key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(path);
    }
    text.push(b',');
    text.extend_from_slice(FIXED.as_bytes());
    if volatile {
        text.extend_from_slice(b",volatile");
    }
    Ok(c_string(&text)?)
}

/// The layers, topmost first.
fn lower(layers: &[&[u8]]) -> Vec<u8> {
    let names: Vec<&[u8]> = layers.iter().rev().copied().collect();
    names.join(&b':')
}

#[cfg(test)]
mod tests;
