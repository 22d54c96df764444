//! Pausing a running container and changing its limits, through its control group.

use oci_spec::runtime::{LinuxResources, Spec};

use super::rename::lock;
use super::{Container, Record};
use crate::container::state::{RunDir, State, Status};
use crate::{Error, files};
use box_run::cgroup::{self, Cgroup};

impl Container {
    /// The control group of a running container.
    pub fn cgroup(&self) -> Result<Cgroup, Error> {
        let status = self.status()?;
        let state = State::read(self.all.run(), &self.name)?;
        match (&status, state.and_then(|state| state.cgroup)) {
            (Status::Running { .. } | Status::Paused { .. }, Some(path)) => {
                Ok(Cgroup::open(&path)?)
            }
            _ => Err(Error::NotRunning {
                name: self.name.clone(),
                status: status.to_string(),
            }),
        }
    }

    /// Freezes all its processes.
    pub fn pause(&self) -> Result<(), Error> {
        Ok(self.cgroup()?.freeze()?)
    }

    /// Thaws them.
    pub fn unpause(&self) -> Result<(), Error> {
        Ok(self.cgroup()?.thaw()?)
    }

    /// Changes the given limits of the running container and of its next starts.
    pub fn update(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        // Another update, or the end of the container, may be writing at the same time. The lock serializes them, and the record is
        // read again below.
        let _lock = lock(&self.dir)?;
        self.reload()?;
        match self.cgroup() {
            Ok(cgroup) => cgroup.update(resources)?,
            // It is being started with the old record, or removed.
            Err(Error::NotRunning { .. }) if RunDir::is_held(self.all.run(), &self.name)? => {
                return Err(Error::Busy {
                    name: self.name.clone(),
                });
            }
            Err(Error::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut spec = self.spec()?;
        merge(&mut spec, resources)?;
        files::replace_json(&self.files().join("config.json"), &spec)?;
        if resources.pids().is_some() && self.record.options.runtime.pids_by_default {
            self.record.options.runtime.pids_by_default = false;
            self.save()?;
        }
        self.spec = Some(spec);
        Ok(())
    }

    /// Rereads the record. The caller has locked the bundle.
    fn reload(&mut self) -> Result<(), Error> {
        let path = self.files().join("instance.json");
        let record: Option<Record> = files::read_json(&path)?;
        // It may have been renamed or removed before it was locked.
        let record = record
            .filter(|record| record.id == self.record.id)
            .ok_or_else(|| Error::NoSuchContainer {
                name: self.name.clone(),
            })?;
        self.set_record(record);
        self.spec = None;
        Ok(())
    }

    /// Running, or paused if its control group is frozen.
    pub(super) fn status_of(&self, state: &State) -> Result<Status, Error> {
        let pid = state.pid;
        let frozen = match &state.cgroup {
            Some(path) => cgroup::is_frozen(path)?,
            None => false,
        };
        Ok(if frozen {
            Status::Paused { pid }
        } else {
            Status::Running { pid }
        })
    }
}

/// Merges the fields of `changes` into the spec's resources. Both are JSON objects of the same shape, without empty fields.
fn merge(spec: &mut Spec, changes: &LinuxResources) -> Result<(), Error> {
    let Some(linux) = spec.linux_mut() else {
        return Ok(());
    };
    let failed = |error: serde_json::Error| Error::spec("linux.resources", error.to_string());
    let present = linux.resources().clone().unwrap_or_default();
    let mut document = serde_json::to_value(present).map_err(failed)?;
    overlay(
        &mut document,
        serde_json::to_value(changes).map_err(failed)?,
    );
    let merged: LinuxResources = serde_json::from_value(document).map_err(failed)?;
    linux.set_resources(Some(merged));
    Ok(())
}

fn overlay(below: &mut serde_json::Value, above: serde_json::Value) {
    use serde_json::Value;
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                overlay(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn changes_replace_what_they_name_alone() {
        let resources = |json: &str| serde_json::from_str::<LinuxResources>(json).unwrap();
        let mut spec = Spec::default();
        let before = r#"{"memory":{"limit":1,"reservation":2},"pids":{"limit":3}}"#;
        spec.linux_mut()
            .as_mut()
            .unwrap()
            .set_resources(Some(resources(before)));
        merge(
            &mut spec,
            &resources(r#"{"memory":{"limit":9},"cpu":{"cpus":"0"}}"#),
        )
        .unwrap();
        let after =
            r#"{"memory":{"limit":9,"reservation":2},"pids":{"limit":3},"cpu":{"cpus":"0"}}"#;
        assert_eq!(
            spec.linux().as_ref().unwrap().resources(),
            &Some(resources(after))
        );
    }
}
