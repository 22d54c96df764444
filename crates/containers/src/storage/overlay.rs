//! The root file system of a container: its layers, never written to, and over them a directory of its own.
//!
//! Most are mounted by the parent with the new interface, attached nowhere, while the child makes its network: on ext4 either takes
//! half a millisecond. What that interface cannot take the child mounts by one mount(2) with a string of options. That string is at
//! most a page long and gives commas, colons and backslashes a meaning: paths that it cannot carry, and lists that are too long for
//! it, go by descriptor. The directories are opened, the working directory is `/proc/self/fd` for the moment of the mount, and their
//! names in there are short numbers: so all layers that the kernel takes fit, on every kernel.

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

/// Options that do not depend on the container. `index` and `metacopy` off and `redirect_dir=nofollow`: the upper
/// directory stays plain files that can be packed as a layer, and attributes in a hostile layer are not followed.
pub(crate) const FIXED: &str = "index=off,metacopy=off,redirect_dir=nofollow";

/// The longest string of options: one page with its terminating zero, mount(2).
const LONGEST: usize = 4095;

/// The most layers that the kernel stacks below an upper directory: `OVL_MAX_STACK` in its fs/overlayfs/params.h.
pub(crate) const MOST_LAYERS: usize = 500;

/// A checked overlay.
#[derive(Debug)]
pub(crate) struct Overlay {
    layers: Layers,
    upper: PathBuf,
    work: PathBuf,
    volatile: bool,
    /// What the kernel is given.
    options: CString,
    /// What `options` names by number: the layers, the upper directory, the work directory.
    opened: Vec<OwnedFd>,
}

impl Overlay {
    /// Of these layers. A `volatile` one is not synced when it goes, for containers that go with it.
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

    /// The same of layers that are open already, topmost last.
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

    /// Whether the string of options cannot carry the paths.
    pub fn needs_numbers(&self) -> bool {
        let own = [self.upper.as_path(), &self.work];
        let mut all = self.layers.trees().chain(own);
        let odd = |path: &Path| bytes(path).iter().any(|byte| b",:\\\"\n ".contains(byte));
        self.opened.is_empty() && (self.options.as_bytes().len() > LONGEST || all.any(odd))
    }

    /// The same, open. The kernel takes what was opened in the mount namespace of the mount, and in no other.
    fn opened(&self) -> Result<Self, Error> {
        let layers = self.layers.open()?;
        Self::of_trees(layers, self.upper.clone(), self.work.clone(), self.volatile)
    }

    /// Mounts it where the caller is.
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

    /// Mounts it where the caller is, and gives the mount once more, attached nowhere.
    pub fn mount_and_take(&self, target: &Path) -> Result<OwnedFd, Error> {
        self.mount_here(target)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, target, flags)
            .map_err(|errno| Error::io("open the overlay on", target, errno))
    }

    /// Opens the upper and the work directory beside the open layers, and names all of them by their numbers.
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

    /// Mounts it. In the child; allocates nothing.
    ///
    /// `nodev`: device nodes in a layer, or made by the command, open nowhere, on hosts without control groups too. `target` is
    /// absolute. Where the directories go by number, the working directory of the process is another one meanwhile.
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

    /// Whether the parent is to make it, with [`Overlay::detached`] or [`Overlay::mount_aside`], and not the child.
    pub fn can_be_detached(&self) -> bool {
        self.fits_fsconfig() || self.needs_numbers()
    }

    /// Whether each value fits into what fsconfig(2) takes, 256 bytes.
    fn fits_fsconfig(&self) -> bool {
        const MOST: usize = 255;
        let layers = self.layers.trees().map(|path| path.as_os_str().len() + 1);
        !self.needs_numbers()
            && layers.sum::<usize>() <= MOST
            && [&self.upper, &self.work]
                .iter()
                .all(|path| path.as_os_str().len() <= MOST)
    }

    /// Mounts it in a namespace that is left again, on `target`, and gives the mount, attached nowhere: on every kernel.
    pub fn mount_aside(&self, target: &Path) -> Result<OwnedFd, Error> {
        let separate = SeparateNamespace::enter()?;
        let made = self.mount_and_take(target);
        separate.leave()?;
        made
    }

    /// Mounts it, attached nowhere: fsopen(2), fsmount(2). As [`Overlay::mount`] otherwise. `None` where this kernel does not take it
    /// in that way, and nothing was done.
    pub fn detached(&self) -> Result<Option<OwnedFd>, Errno> {
        let Ok(context) = self.context() else {
            return Ok(None);
        };
        // From here on the work directory is not what it was, and a second try would fail for that.
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

    /// The options, for people.
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
