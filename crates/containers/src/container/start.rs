//! The start of a container: its bundle, storage and record, combined for the runtime.

use std::path::Path;

use box_host::process::Stat;
use box_run::error::BoxError;
use box_run::{Bundle, Ended, Lifecycle, Plan, Prepared, RootFilesystem, Running};

use super::bundle::remove_bundle;
use super::record::{NewContainer, Started, now};
use super::state::State;
use super::{Container, Containers, rename, spare, waiter};
use crate::Error;
use crate::spec::etc::EtcFiles;
use crate::storage::Storage;
use crate::storage::rootfs::{CopiedRoot, MappedRoot, OverlayRoot};

/// Sets the container up. Its init process waits just before it executes the command.
pub fn prepare(mut container: Container, plan: Plan) -> Result<Prepared<Container>, Error> {
    container.hold()?;
    Ok(box_run::process::prepare(container, plan)?)
}

/// Starts the container's command.
pub fn launch(mut container: Container, plan: Plan) -> Result<Running<Container>, Error> {
    container.hold()?;
    Ok(box_run::process::launch(container, plan)?)
}

impl Container {
    /// The bundle for the runtime.
    pub(crate) fn bundle(&self) -> Result<Bundle, Error> {
        Ok(Bundle {
            id: self.name.clone(),
            directory: self.dir.clone(),
            spec: self.spec()?,
        })
    }

    /// Checks its spec and allocates everything that a start needs.
    pub fn plan(&self) -> Result<Plan, Error> {
        let mut bundle = self.bundle()?;
        if let Some(linux) = bundle.spec.linux_mut()
            && linux.cgroups_path().is_none()
        {
            linux.set_cgroups_path(Some(format!("/box-{}", self.record.id).into()));
        }
        let mut plan = Plan::new(&bundle, &self.record.options.runtime)?;
        if let Some(root) = self.root(&bundle)? {
            plan = plan.on(root);
        }
        for (name, text) in self.texts().map(EtcFiles::files).into_iter().flatten() {
            plan.keep_in_memory(name, text)?;
        }
        Ok(plan)
    }

    /// The root file system that its storage makes of its layers; `None` for a bundle that contains its files.
    fn root(&self, bundle: &Bundle) -> Result<Option<Box<dyn RootFilesystem>>, Error> {
        if self.layers.is_empty() {
            return Ok(None);
        }
        // With `--rm` the overlay is not synced when it is unmounted: that would write back the whole file system of the host.
        let volatile = self.record.remove;
        Ok(Some(match self.record.storage {
            Storage::Copy => Box::new(CopiedRoot::new(self.dir.join("rootfs"))?),
            Storage::Overlay if box_run::plan::has_user_namespace(&bundle.spec) => {
                Box::new(MappedRoot::new(&self.dir, self.lower(), volatile)?)
            }
            Storage::Overlay => Box::new(OverlayRoot::new(
                self.overlay(volatile)?,
                &self.mount_point(),
            )?),
        }))
    }
}

impl NewContainer {
    /// The plan of a container that is not created. Writes nothing.
    pub fn plan(&self) -> Result<Plan, Error> {
        let name = self.name.clone().unwrap_or_else(|| "NAME".to_owned());
        Containers::open("INSTANCES", "RUN", "LAYERS")
            .container(&name, self.clone(), 0)
            .plan()
    }
}

impl Lifecycle for Container {
    fn before_cgroup(&mut self, cgroup: &Path) -> Result<(), BoxError> {
        if let Some(held) = &self.held {
            held.note_group(cgroup)?;
        }
        Ok(())
    }

    /// Writes state and record while the process sets itself up.
    fn created(&mut self, pid: i32, cgroup: &Path) -> Result<(), BoxError> {
        let state = State {
            pid,
            start_time: Stat::of(pid).map_err(Error::from)?.start_time,
            monitor: rustix::process::getpid().as_raw_nonzero().get(),
            running: true,
            started: now(),
            cgroup: Some(cgroup.to_owned()),
        };
        if let Some(held) = &self.held {
            held.write(&state)?;
        }
        if !self.record.remove {
            let _lock = rename::lock(&self.dir)?;
            self.take_written_options();
            self.record.started = Some(Started {
                at: state.started,
                boot_id: box_host::process::boot_id().map_err(Error::from)?,
            });
            self.record.ended = None;
            self.save()?;
        }
        Ok(self.write_bundle()?)
    }

    /// Prepares a directory for the next start while this one waits for its process.
    fn while_idle(&self, time: &dyn Fn() -> bool) {
        if self.record.remove {
            spare::clean_one(&self.dir, time);
        }
    }

    fn wants_usage(&self) -> bool {
        !self.record.remove
    }

    /// Records how the container ended, or removes it.
    fn ended(&mut self, ended: &Ended) -> Result<(), BoxError> {
        let _lock = self.keep_place()?;
        waiter::notify(&self.state_directory(), ended);
        if self.record.remove {
            if !spare::put(&self.dir) {
                remove_bundle(&self.dir)?;
            }
        } else {
            self.take_written_options();
            self.record.ended = Some(ended.clone());
            self.save()?;
        }
        if let Some(held) = self.held.take() {
            held.remove()?;
        }
        Ok(())
    }
}
