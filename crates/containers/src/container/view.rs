//! Access to a container's files, its changes and its log.

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
use crate::diff::{Change, WritableFiles};
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
    unavailable: Vec<Unavailable>,
    /// Holds the lock.
    _stopped: Option<Container>,
}

impl View {
    /// Its files. No path leads out of them.
    pub fn tree(&self) -> Result<Tree, Error> {
        let root = self
            .root
            .try_clone()
            .map_err(|error| Error::system("copy a descriptor", error))?;
        Ok(Tree::confined(root, &self.name)
            .without(self.unavailable.clone())
            .kept_in(&self.home))
    }
}

impl Container {
    /// Opens its root file system: of a running container with all its mounts, of a stopped one with its volumes and the files that box
    /// generates. File systems in memory are gone, and a path below their mount points is an error that says so.
    ///
    /// For a stopped container this moves the calling thread into a new mount namespace, in which everything is mounted and which goes
    /// with the process, however that ends. Paths of the host mean the same there. A root file system that is read-only in the container
    /// is read-only here.
    pub fn view(self) -> Result<View, Error> {
        match self.live() {
            Ok(live) => {
                let root = self.open_root(&live)?;
                Ok(View {
                    root,
                    name: self.name.clone(),
                    home: self.dir.clone(),
                    unavailable: vec![],
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
        // If the process has not ended since, this was its root.
        self.live()?;
        Ok(root)
    }

    fn view_stopped(mut self) -> Result<View, Error> {
        self.hold()?;
        let failed = |errno| Error::system("create a mount namespace", errno);
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
            // Mounted as for a running container.
            Storage::Copy => {
                let copy = storage::open_copy(&target, userns)?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(&copy, c"", CWD, &target, flags).map_err(failed)?;
            }
        }
        let root = open(&target)?;
        let unavailable = mounts::mount(&root, &target, &spec, &self.files(), userns)?;
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
            unavailable,
            _stopped: Some(self),
        })
    }

    /// Its changes to the image, parents before children and names in order.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        diff::changes(&self.writable_files(), &self.layers, &self.mounted()?)
    }

    /// Writes its changes as an uncompressed OCI layer. Returns the writer.
    pub fn write_layer<W: Write>(&self, out: W) -> Result<W, Error> {
        let ids = match self.record.storage {
            Storage::Overlay => self.ids()?,
            // A copy has the image's ids on disk; they are mapped by its mount.
            Storage::Copy => Ids::default(),
        };
        layer::write(
            &self.writable_files(),
            &self.layers,
            &self.mounted()?,
            ids,
            out,
        )
    }

    /// Its files on disk.
    fn writable_files(&self) -> WritableFiles {
        match self.record.storage {
            Storage::Overlay => WritableFiles::Upper(self.dir.join("upper")),
            Storage::Copy => WritableFiles::Copy(self.dir.join("rootfs")),
        }
    }

    /// Its log; `None` if it never ran detached, or its log driver keeps none.
    pub fn log(&self) -> Result<Option<Log>, Error> {
        match self.record.options.log.driver {
            Driver::K8sFile => Log::open(&self.dir, &self.record.options.log),
            Driver::None | Driver::Passthrough => Ok(None),
        }
    }

    /// The current file of its log, whether it exists or not; `None` if its log driver keeps none.
    pub fn log_path(&self) -> Option<PathBuf> {
        (self.record.options.log.driver == Driver::K8sFile).then(|| Log::path(&self.dir))
    }

    /// The host ids of its ids while it runs, and in a [`View`].
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
