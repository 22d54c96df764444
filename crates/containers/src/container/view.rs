//! Looking into a container: its files, what it changed, what it wrote.

mod mounts;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, move_mount};

use super::{Container, Live};
use crate::Error;
use crate::copy::{Tree, Unavailable};
use crate::diff::{self, layer};
use crate::diff::{Change, Changed};
use crate::ids::Ids;
use crate::logs::{Driver, Log};
use crate::storage::{self, Storage};
use box_run::namespaces::idmap::IdMap;
use box_run::sys;
use box_run::sys::mount::make_private;
use box_run::sys::mount::{Attributes, set_attributes};

/// The root file system of a container for as long as this value lives. A stopped container cannot be started meanwhile.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    name: String,
    /// The container's directory on the host.
    home: PathBuf,
    gone: Vec<Unavailable>,
    /// Holds the lock, and drops it.
    _stopped: Option<Container>,
}

impl View {
    /// Its files, out of which no path leads.
    pub fn tree(&self) -> Result<Tree, Error> {
        let root = self
            .root
            .try_clone()
            .map_err(|error| Error::system("copy a descriptor", error))?;
        Ok(Tree::confined(root, &self.name)
            .without(self.gone.clone())
            .kept_in(&self.home))
    }
}

impl Container {
    /// Opens its root file system: that of the running container with all that is mounted there, or that of a stopped one with its
    /// volumes and the files of ours. What was in memory alone is gone, and a path that leads there is an error that says so.
    ///
    /// For a stopped one this moves the calling thread to a mount namespace of its own, in which all that is mounted: it
    /// goes with the process, however that ends. Paths of the host mean there what they mean outside. A root file system that is
    /// read-only for the container is so here.
    pub fn view(self) -> Result<View, Error> {
        match self.live() {
            Ok(live) => {
                let root = self.open_root(&live)?;
                Ok(View {
                    root,
                    name: self.name.clone(),
                    home: self.dir.clone(),
                    gone: vec![],
                    _stopped: None,
                })
            }
            Err(Error::NotRunning { .. }) => self.view_stopped(),
            Err(error) => Err(error),
        }
    }

    /// The root directory of the running container, as its first process sees it.
    pub(crate) fn open_root(&self, live: &Live) -> Result<OwnedFd, Error> {
        let root = open(Path::new(&format!("/proc/{}/root", live.pid())))?;
        // It was that process' root if it has not ended since.
        self.live()?;
        Ok(root)
    }

    fn view_stopped(mut self) -> Result<View, Error> {
        self.hold()?;
        let failed = |errno| Error::system("make a mount namespace", errno);
        sys::process::unshare(libc::CLONE_NEWNS).map_err(failed)?;
        make_private().map_err(failed)?;
        let spec = self.spec()?;
        let idmap = match (box_run::plan::has_user_namespace(&spec), spec.linux()) {
            (true, Some(linux)) => Some(IdMap::plan(linux)?),
            _ => None,
        };
        let userns = idmap.as_ref().map(IdMap::namespace).transpose()?;
        let userns = userns.as_ref().map(AsFd::as_fd);
        let target = self.dir.join("rootfs");
        let failed = |errno| Error::io("mount the root file system on", &target, errno);
        match self.record.storage {
            Storage::Overlay => {
                self.overlay(false)?.mount_here(&target)?;
            }
            // Shown as a running container is shown it.
            Storage::Copy => {
                let copy = storage::open_copy(&target, userns)?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(&copy, c"", CWD, &target, flags).map_err(failed)?;
            }
        }
        let root = open(&target)?;
        let gone = mounts::mount(&root, &target, &spec, &self.files(), userns)?;
        let read_only = spec.root().as_ref().and_then(|root| root.readonly());
        if read_only.unwrap_or(false) {
            let attributes = Attributes {
                set: libc::MOUNT_ATTR_RDONLY,
                ..Attributes::default()
            };
            set_attributes(root.as_fd(), &attributes, false).map_err(failed)?;
        }
        Ok(View {
            root,
            name: self.name.clone(),
            home: self.dir.clone(),
            gone,
            _stopped: Some(self),
        })
    }

    /// What it changed of its image, parents before children and names in order.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        diff::changes(&self.changed(), &self.layers, &self.mounted()?)
    }

    /// The same as an uncompressed OCI layer. Returns the writer.
    pub fn write_layer<W: Write>(&self, out: W) -> Result<W, Error> {
        let ids = match self.record.storage {
            Storage::Overlay => self.ids()?,
            // A copy's ids are mapped by its mount, on the disk they are the image's.
            Storage::Copy => Ids::default(),
        };
        layer::write(&self.changed(), &self.layers, &self.mounted()?, ids, out)
    }

    /// Where its changes are.
    fn changed(&self) -> Changed {
        match self.record.storage {
            Storage::Overlay => Changed::Upper(self.dir.join("upper")),
            Storage::Copy => Changed::Copy(self.dir.join("rootfs")),
        }
    }

    /// What it wrote while it ran detached; `None` if it never did, or none was to be kept.
    pub fn log(&self) -> Result<Option<Log>, Error> {
        match self.record.options.log.driver {
            Driver::K8sFile => Log::open(&self.dir, &self.record.options.log),
            Driver::None | Driver::Passthrough => Ok(None),
        }
    }

    /// The file that has, or would have, the newest part of that; `None` if none is to be kept.
    pub fn log_path(&self) -> Option<PathBuf> {
        (self.record.options.log.driver == Driver::K8sFile).then(|| Log::path(&self.dir))
    }

    /// How its ids are seen on the host while it runs, and in a [`View`].
    pub fn ids(&self) -> Result<Ids, Error> {
        let spec = self.spec()?;
        let maps = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.uid_mappings().clone())
            .unwrap_or_default();
        let root = maps.iter().find(|map| map.container_id() == 0);
        Ok(Ids {
            range: root.map(|map| (map.host_id(), map.size())),
        })
    }

    fn mounted(&self) -> Result<Vec<PathBuf>, Error> {
        let spec = self.spec()?;
        Ok(spec
            .mounts()
            .iter()
            .flatten()
            .map(|mount| mount.destination().clone())
            .collect())
    }
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Error::io("open", path, errno))
}
