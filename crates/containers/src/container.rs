//! Containers on disk. Each is an OCI bundle with a private writable layer.

mod bundle;
mod create;
mod live;
pub(crate) mod names;
mod record;
mod remove;
mod rename;
mod resources;
mod spare;
mod start;
pub mod state;
mod store;
mod sweep;
mod view;
mod waiter;

use std::path::{Path, PathBuf};

use box_run::capabilities::Capabilities;
use box_run::seccomp;
use box_unpack::Layers;
use oci_spec::runtime::Spec;

use crate::spec::etc::EtcFiles;
use crate::storage::Storage;
use crate::storage::overlay::{MOST_LAYERS, Overlay};
use crate::{Error, files, spec};
pub use live::Live;
#[cfg(test)]
pub(crate) use record::now;
pub use record::{NewContainer, Record, RunOptions};
pub use start::{launch, prepare};
use state::{RunDir, State, Status};
pub use store::Containers;
pub use view::View;
pub use waiter::Waiter;

/// One container. Dropping it releases its lock.
#[derive(Debug)]
pub struct Container {
    name: String,
    dir: PathBuf,
    all: Containers,
    record: Record,
    /// `None` until it is read.
    spec: Option<Spec>,
    /// Written by `create`, or passed to the start if they are kept in memory.
    etc: Option<EtcFiles>,
    /// The layers that the record lists.
    layers: Layers,
    held: Option<RunDir>,
    /// Whether the bundle is on disk. With `--rm` it is written while the container starts.
    written: bool,
}

impl Container {
    /// Its name, which is also the name of its directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bundle: `config.json`, `rootfs/`, and box's own `instance.json`; for an overlay `upper/` and `work/`. With `--rm` only the
    /// storage is there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The layers of its image, in the order in which they are stacked.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The directory of its state while it runs.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.all.run().join(&self.name)
    }

    /// Its record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its runtime spec, from `config.json`.
    pub fn spec(&self) -> Result<Spec, Error> {
        match &self.spec {
            Some(spec) => Ok(spec.clone()),
            None => {
                let path = self.files().join("config.json");
                files::read_json(&path)?
                    .ok_or_else(|| Error::io("read", &path, rustix::io::Errno::NOENT))
            }
        }
    }

    /// Its current status.
    pub fn status(&self) -> Result<Status, Error> {
        if RunDir::is_held(self.all.run(), &self.name)? {
            return Ok(match State::read(self.all.run(), &self.name)? {
                Some(state) => self.status_of(&state)?,
                None => Status::Created,
            });
        }
        Ok(match (&self.record.ended, &self.record.started) {
            (Some(ended), _) => Status::Exited { exit: ended.status },
            (None, None) => Status::Created,
            (None, Some(started)) if box_host::process::boot_id()? == started.boot_id => {
                Status::Lost {
                    reason: "the box process that watched it was killed".to_owned(),
                }
            }
            (None, Some(_)) => Status::Lost {
                reason: "the machine was restarted".to_owned(),
            },
        })
    }

    /// Locks it for a start.
    pub fn hold(&mut self) -> Result<(), Error> {
        if self.held.is_some() {
            return Ok(());
        }
        let held = self.lock()?;
        // The container may have been started or removed since the record was read.
        match files::read_json(&self.files().join("instance.json"))? {
            Some(record) => self.set_record(record),
            None => {
                held.remove()?;
                return Err(Error::NoSuchContainer {
                    name: self.name.clone(),
                });
            }
        }
        self.held = Some(held);
        Ok(())
    }

    /// Takes over what was read again. Another container may have the name by now, with other layers.
    fn set_record(&mut self, record: Record) {
        self.layers = self.all.stacked(&record.layers);
        self.record = record;
    }

    /// Closes the lock without releasing it: a forked process holds it.
    pub(crate) fn hand_over(mut self) {
        self.held.take();
    }

    /// All its layers, topmost last. The lowest holds only mount points, so that creating them leaves no trace in the upper directory.
    /// An image with as many layers as an overlay takes goes without it.
    pub(crate) fn lower(&self) -> Layers {
        if self.layers.len() >= MOST_LAYERS {
            return self.layers.clone();
        }
        let base = self.dir.parent().unwrap_or(&self.dir);
        self.layers.over(base.join(create::MOUNT_POINTS))
    }

    /// The overlay of its layers and its upper directory.
    pub(crate) fn overlay(&self, volatile: bool) -> Result<Overlay, Error> {
        Overlay::new(
            self.lower(),
            self.dir.join("upper"),
            self.dir.join("work"),
            volatile,
        )
    }

    /// The directory of `config.json` and `instance.json`. With `--rm` it is the run directory, which is in memory on most machines:
    /// creating and removing a file on disk takes longer than everything else that a start writes.
    pub(crate) fn files(&self) -> PathBuf {
        if self.record.remove {
            self.state_directory()
        } else {
            self.dir.clone()
        }
    }

    /// The files below /etc that box generates, if a tmpfs of the container holds them, as with `--rm`. Creating and removing them on
    /// disk takes too long, and in the run directory the container could fill it.
    pub(crate) fn texts(&self) -> Option<&EtcFiles> {
        self.etc
            .as_ref()
            .filter(|_| self.record.remove && self.spec.as_ref().is_some_and(spec::has_own_dev))
    }

    /// Where a start mounts the root file system, in the container's mount namespace. With `--rm` it is a directory that all such
    /// containers share: creating one for each costs time.
    pub(crate) fn mount_point(&self) -> PathBuf {
        let mapped = self
            .spec
            .as_ref()
            .is_some_and(box_run::plan::has_user_namespace);
        if self.record.remove && !mapped && self.record.storage == Storage::Overlay {
            self.dir
                .parent()
                .unwrap_or(&self.dir)
                .join(create::MOUNT_POINTS)
        } else {
            self.dir.join("rootfs")
        }
    }

    /// Mounts its root file system on `rootfs/` for other programs, such as an OCI runtime that runs the bundle. A copy is there already.
    pub fn mount(&self) -> Result<PathBuf, Error> {
        let held = self.lock()?;
        let target = self.dir.join("rootfs");
        if self.record.storage == Storage::Copy {
            held.remove()?;
            return Ok(target);
        }
        match rustix::fs::mkdir(&target, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("create directory", &target, errno)),
        }
        self.overlay(false)?.mount_here(&target)?;
        held.remove()?;
        Ok(target)
    }

    /// Undoes [`Container::mount`].
    pub fn unmount(&self) -> Result<(), Error> {
        let target = self.dir.join("rootfs");
        if self.record.storage == Storage::Copy {
            return Ok(());
        }
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::NOFOLLOW)
            .map_err(|errno| Error::io("unmount", &target, errno))
    }

    fn lock(&self) -> Result<RunDir, Error> {
        if let Some(held) = RunDir::lock(self.all.run(), &self.name)? {
            held.clean_up()?;
            return Ok(held);
        }
        Err(match State::read(self.all.run(), &self.name)? {
            Some(state) => Error::Running {
                name: self.name.clone(),
                pid: state.pid,
            },
            None => Error::Busy {
                name: self.name.clone(),
            },
        })
    }

    /// Rereads the options: an update may have changed them since the record was read.
    fn take_written_options(&mut self) {
        let path = self.files().join("instance.json");
        if let Ok(Some(written)) = files::read_json::<Record>(&path) {
            self.record.options = written.options;
        }
    }

    /// Replaces `instance.json`.
    pub(crate) fn save(&self) -> Result<(), Error> {
        files::replace_json(&self.files().join("instance.json"), &self.record)
    }

    /// Writes `config.json` and `instance.json` if they do not exist yet.
    fn write_bundle(&mut self) -> Result<(), Error> {
        let path = self.files().join("config.json");
        let Some(spec) = self.spec.as_mut().filter(|_| !self.written) else {
            return Ok(());
        };
        complete(spec)?;
        files::write_new(&path, spec)?;
        if !self.record.remove {
            // From here on the container is listed, so everything else is on disk before.
            self.save()?;
        }
        self.written = true;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && let Err(error) = held.remove()
        {
            tracing::warn!(%error, "cannot remove the state of a container");
        }
    }
}

/// Expands the default seccomp profile in a spec that only names it, for other runtimes.
fn complete(spec: &mut Spec) -> Result<(), Error> {
    if !seccomp::is_default(spec) {
        return Ok(());
    }
    let set = spec
        .process()
        .as_ref()
        .and_then(|process| process.capabilities().as_ref());
    let set = set.map(Capabilities::from_oci).unwrap_or_default();
    let profile = seccomp::default_profile(set.bounding)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(profile));
    }
    Ok(())
}
