//! Control groups: the limits of a container, its resource usage, and signals to all its processes.
//!
//! Works on the unified hierarchy (v2), on v1 with its hierarchy for each controller, and on hosts that mount both. On v1 only the
//! groups that are needed are made: memory, pids and devices always, others for a limit, and the freezer at the first pause. See
//! cgroups(7) and the kernel's `admin-guide/cgroup-v2.rst`.

mod backoff;
mod delegation;
mod device_program;
mod directory;
mod freezer;
mod host;
mod join;
mod place;
mod request;
mod setting;
mod stats;
mod systemd;
mod v1;
mod v2;

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use crate::Error;
use host::Host;
pub(crate) use join::Join;
pub(crate) use place::Place;
pub(crate) use request::Request;
pub use setting::shares_of_weight;
pub use stats::{Io, Stats};

/// The control group of a container. A group made by [`Cgroup::create`] is removed on drop, unless [`Cgroup::keep`] was called.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    groups: Groups,
    warning: Option<String>,
    owned: bool,
}

/// The directories of the group.
#[derive(Debug)]
enum Groups {
    /// One directory with all controllers.
    Unified(v2::Group),
    /// One directory in each hierarchy that is used.
    Legacy(v1::Groups),
    /// None, as control groups cannot be used here.
    Missing,
}

impl Cgroup {
    /// Makes the group and sets its limits. A limit of the spec that cannot be set is an error; defaults that cannot be set are
    /// reported by [`Cgroup::warning`].
    pub(crate) fn create(request: &Request) -> Result<Self, Error> {
        let path = request.place.path();
        let (groups, warning) = match host::detect() {
            Host::Unified(root) => {
                if let Some(scope) = request.place.scope() {
                    scope.enter(&root)?;
                }
                let (group, warning) = v2::create(&root, path, request)?;
                (group.map_or(Groups::Missing, Groups::Unified), warning)
            }
            Host::Legacy(hierarchies) => {
                let (groups, warning) = v1::create(&hierarchies, path, request)?;
                (groups.map_or(Groups::Missing, Groups::Legacy), warning)
            }
            Host::Missing(reason) => {
                setting::refuse_all(request, &reason)?;
                (
                    Groups::Missing,
                    Some(format!("the container runs without limits: {reason}")),
                )
            }
        };
        Ok(Self {
            path: path.to_owned(),
            groups,
            warning,
            owned: true,
        })
    }

    /// Opens the group of a container that was started, by its [`Cgroup::path`]. Directories that no longer exist are left out.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = place::below_root(path)?;
        let groups = match host::detect() {
            Host::Unified(root) => v2::open(&root, &path).map_or(Groups::Missing, Groups::Unified),
            Host::Legacy(hierarchies) => {
                v1::open(&hierarchies, &path).map_or(Groups::Missing, Groups::Legacy)
            }
            Host::Missing(_) => Groups::Missing,
        };
        Ok(Self {
            path,
            groups,
            warning: None,
            owned: false,
        })
    }

    /// Its path below the hierarchy's root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The defaults that could not be set, and why; one line for the user.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Whether the group exists.
    pub fn exists(&self) -> bool {
        !self.directories().is_empty()
    }

    /// Keeps the group when this value is dropped.
    pub(crate) fn keep(&mut self) {
        self.owned = false;
    }

    /// Opens the files by which a process enters the group.
    pub(crate) fn join(&self) -> Result<Join, Error> {
        match &self.groups {
            Groups::Unified(group) => group.directory().open().map(Join::Clone),
            Groups::Legacy(groups) => groups
                .directories()
                .iter()
                .map(|group| group.open_for_writing("tasks"))
                .collect::<Result<_, _>>()
                .map(Join::Write),
            Groups::Missing => Ok(Join::None),
        }
    }

    #[cfg(test)]
    /// Moves an existing process into the group, by its pid in the caller's pid namespace.
    pub(crate) fn add(&self, pid: i32) -> Result<(), Error> {
        for directory in self.directories() {
            directory.write("cgroup.procs", &pid.to_string())?;
        }
        Ok(())
    }

    /// Changes the limits that `resources` has, and keeps the others.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        match &self.groups {
            Groups::Unified(group) => group.update(resources),
            Groups::Legacy(groups) => groups.update(resources),
            Groups::Missing => setting::refuse_resources(resources, "the container has no cgroup"),
        }
    }

    /// Its resource usage.
    pub fn stats(&self) -> Result<Stats, Error> {
        match &self.groups {
            Groups::Unified(group) => group.stats(),
            Groups::Legacy(groups) => groups.stats(),
            Groups::Missing => Ok(Stats::default()),
        }
    }

    /// How many of its processes the kernel's OOM killer ended.
    pub(crate) fn oom_kills(&self) -> Result<u64, Error> {
        match &self.groups {
            Groups::Unified(group) => group.oom_kills(),
            Groups::Legacy(groups) => groups.oom_kills(),
            Groups::Missing => Ok(0),
        }
    }

    /// The pids in it, in the caller's pid namespace.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        self.directories()
            .first()
            .map_or(Ok(Vec::new()), |directory| directory.pids())
    }

    /// Kills every process in it and returns when none is left. Gives up after some seconds, as a process in uninterruptible sleep
    /// does not end.
    pub fn kill(&self) -> Result<(), Error> {
        match &self.groups {
            Groups::Unified(group) => group.kill(),
            Groups::Legacy(groups) => groups.kill(),
            Groups::Missing => Ok(()),
        }
    }

    /// Freezes all its processes.
    pub fn freeze(&self) -> Result<(), Error> {
        match &self.groups {
            Groups::Unified(group) => group.set_frozen(true),
            Groups::Legacy(groups) => groups.set_frozen(true),
            Groups::Missing => Err(no_freezer()),
        }
    }

    /// Thaws all its processes. Does nothing if the group no longer exists.
    pub fn thaw(&self) -> Result<(), Error> {
        match &self.groups {
            Groups::Unified(group) => group.set_frozen(false),
            Groups::Legacy(groups) => groups.set_frozen(false),
            Groups::Missing => Ok(()),
        }
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        match &self.groups {
            Groups::Unified(group) => group.is_frozen(),
            Groups::Legacy(groups) => groups.is_frozen(),
            Groups::Missing => Ok(false),
        }
    }

    /// Removes the group and all groups that the container made below it. Remaining processes are killed first.
    pub fn remove(mut self) -> Result<(), Error> {
        self.owned = false;
        self.remove_directories()
    }

    fn remove_directories(&self) -> Result<(), Error> {
        if let Groups::Legacy(groups) = &self.groups {
            groups.remove_later_ones();
        }
        let directories = self.directories();
        // Nearly always the last process has ended, and nothing else is left to do.
        let left: Vec<_> = directories
            .into_iter()
            .filter(|directory| !directory.remove_if_empty())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        self.kill()?;
        left.into_iter()
            .try_for_each(|directory| directory.remove_tree())
    }

    fn directories(&self) -> Vec<&directory::Directory> {
        match &self.groups {
            Groups::Unified(group) => vec![group.directory()],
            Groups::Legacy(groups) => groups.directories(),
            Groups::Missing => Vec::new(),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = self.remove_directories()
        {
            tracing::warn!(%error, "a control group could not be removed");
        }
    }
}

/// Whether the group with this path is frozen; false if it does not exist. Reads one file only, as lists of many containers call
/// it.
pub fn is_frozen(path: &Path) -> Result<bool, Error> {
    let path = place::below_root(path)?;
    Ok(match host::detect() {
        Host::Unified(root) => v2::is_frozen(&root, &path),
        Host::Legacy(hierarchies) => v1::is_frozen(&hierarchies, &path),
        Host::Missing(_) => false,
    })
}

fn no_freezer() -> Error {
    Error::Limit {
        limit: "a pause".to_owned(),
        reason: "the container has no cgroup".to_owned(),
    }
}

#[cfg(test)]
mod tests;
