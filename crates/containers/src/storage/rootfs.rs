//! The root file system of a container, as the runtime mounts it: an overlay, an overlay with mapped ids, or a copy.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use box_run::RootFilesystem;
use box_run::error::c_string;
use box_run::plan::{Failure, UserIds};
use box_unpack::Layers;
use rustix::io::Errno;

use super::mapped;
use super::open_copy;
use super::overlay::Overlay;
use crate::Error;

fn text(path: &Path) -> Result<CString, Error> {
    Ok(c_string(path.as_os_str().as_bytes())?)
}

/// An overlay. If possible the parent mounts it while the init process creates its network namespace: on ext4 either takes half a
/// millisecond.
#[derive(Debug)]
pub struct OverlayRoot {
    overlay: Overlay,
    target: CString,
}

impl OverlayRoot {
    /// An overlay to mount on `target`.
    pub fn new(overlay: Overlay, target: &Path) -> Result<Self, Error> {
        let target = text(target)?;
        Ok(Self { overlay, target })
    }
}

impl RootFilesystem for OverlayRoot {
    fn target(&self) -> &CStr {
        &self.target
    }

    fn open(&mut self, _: Option<UserIds<'_>>) -> Result<Option<OwnedFd>, box_run::Error> {
        Ok(None)
    }

    fn is_sent(&self) -> bool {
        self.overlay.can_be_detached()
    }

    fn detached(&self) -> Result<Option<OwnedFd>, Failure> {
        if self.overlay.needs_numbers() {
            let target = Path::new(std::ffi::OsStr::from_bytes(self.target.as_bytes()));
            let aside = self.overlay.mount_aside(target);
            return aside
                .map(Some)
                .map_err(|error| Failure::Error(error.into()));
        }
        Ok(self.overlay.detached()?)
    }

    fn mount(&self) -> Result<(), Errno> {
        self.overlay.mount(&self.target)
    }

    fn describe(&self) -> String {
        let target = self.target.to_string_lossy();
        format!("overlay on {target} ({})", self.overlay.describe())
    }

    fn step(&self) -> String {
        format!("mount the overlay on {}", self.target.to_string_lossy())
    }
}

/// An overlay of layers with ids mapped for the container's user namespace.
#[derive(Debug)]
pub struct MappedRoot {
    bundle: PathBuf,
    layers: Layers,
    volatile: bool,
    target: CString,
}

impl MappedRoot {
    /// An overlay of `layers` and the upper directory of `bundle`.
    pub fn new(bundle: &Path, layers: Layers, volatile: bool) -> Result<Self, Error> {
        Ok(Self {
            target: text(&bundle.join("rootfs"))?,
            bundle: bundle.to_owned(),
            layers,
            volatile,
        })
    }
}

impl RootFilesystem for MappedRoot {
    fn target(&self) -> &CStr {
        &self.target
    }

    fn open(&mut self, ids: Option<UserIds<'_>>) -> Result<Option<OwnedFd>, box_run::Error> {
        let missing = "a mapped root needs a user namespace";
        let ids = ids.ok_or_else(|| box_run::Error::spec("linux.namespaces", missing))?;
        Ok(Some(mapped::overlay(
            &self.bundle,
            &self.layers,
            self.volatile,
            ids,
        )?))
    }

    fn describe(&self) -> String {
        let (layers, bundle) = (self.layers.len(), self.bundle.display());
        format!("id-mapped overlay of {layers} layers in {bundle}")
    }

    fn step(&self) -> String {
        format!("mount the overlay in {}", self.bundle.display())
    }
}

/// A copy of the layers.
#[derive(Debug)]
pub struct CopiedRoot {
    path: PathBuf,
    target: CString,
}

impl CopiedRoot {
    /// The copy in this directory.
    pub fn new(path: PathBuf) -> Result<Self, Error> {
        let target = text(&path)?;
        Ok(Self { path, target })
    }
}

impl RootFilesystem for CopiedRoot {
    fn target(&self) -> &CStr {
        &self.target
    }

    fn open(&mut self, ids: Option<UserIds<'_>>) -> Result<Option<OwnedFd>, box_run::Error> {
        let copy = open_copy(&self.path, ids.map(|ids| ids.namespace))?;
        Ok(Some(copy))
    }

    fn describe(&self) -> String {
        format!("copy of the layers in {}", self.path.display())
    }

    fn step(&self) -> String {
        format!("mount the root file system {}", self.path.display())
    }
}
