//! The unified hierarchy.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::backoff::Backoff;
use super::delegation::base;
use super::directory::Directory;
use super::request::Request;
use super::setting::{self, Need, Setting};
use super::stats::{self, Io, Stats};
use super::{device_program, freezer};
use crate::{Error, devices};

/// The group of one container.
#[derive(Debug)]
pub struct Group {
    directory: Directory,
    /// The topmost group whose `cgroup.subtree_control` this process may write.
    base: PathBuf,
}

/// Makes the group and sets the limits.
pub fn create(
    root: &Path,
    path: &Path,
    request: &Request,
) -> Result<(Option<Group>, Option<String>), Error> {
    let place = root.join(path);
    let base = base(root, path);
    let mut settings = setting::unified(request.resources);
    setting::soften(&mut settings, request);
    let directory = match Directory::create("cgroup", place.clone()) {
        Ok(directory) => directory,
        Err(error) => {
            let words = box_host::Reason(&error).to_string();
            let reason = format!("create cgroup {}: {words}", place.display());
            setting::refuse_all(request, &reason)?;
            return Ok((
                None,
                Some(format!("the container runs without limits: {reason}")),
            ));
        }
    };
    let group = Group { directory, base };
    match group.set_up(&settings, request) {
        Ok(warning) => Ok((Some(group), warning)),
        Err(error) => {
            group.directory.remove_if_empty();
            Err(error)
        }
    }
}

/// The group of a container that was made before.
pub fn open(root: &Path, path: &Path) -> Option<Group> {
    let directory = Directory::new("cgroup", root.join(path));
    directory.exists().then(|| Group {
        directory,
        base: base(root, path),
    })
}

/// Whether the group with this path is frozen.
pub fn is_frozen(root: &Path, path: &Path) -> bool {
    let directory = Directory::new("cgroup", root.join(path));
    directory.keyed("cgroup.events", "frozen") == Some(1)
}

impl Group {
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        setting::unified(resources)
            .iter()
            .try_for_each(|one| match self.set(one) {
                Err(error) if one.need == Need::Asked => Err(error),
                _ => Ok(()),
            })
    }

    pub fn stats(&self) -> Result<Stats, Error> {
        let directory = &self.directory;
        let microseconds = |key| directory.keyed("cpu.stat", key).map(|number| number * 1000);
        Ok(Stats {
            cpu_nanoseconds: microseconds("usage_usec"),
            cpu_system_nanoseconds: microseconds("system_usec"),
            cpu_throttled_nanoseconds: microseconds("throttled_usec"),
            memory: directory.number("memory.current"),
            memory_inactive_file: directory.keyed("memory.stat", "inactive_file"),
            memory_peak: directory.number("memory.peak"),
            memory_limit: directory.number("memory.max"),
            oom_kills: directory.keyed("memory.events", "oom_kill"),
            pids: directory.number("pids.current"),
            pids_limit: directory.number("pids.max"),
            io: directory
                .read("io.stat")
                .ok()
                .map(|text| Io::from_unified(&text))
                // The io controller is not enabled for the group.
                .or_else(|| stats::io_of_processes(&directory.all_pids())),
        })
    }

    pub fn oom_kills(&self) -> Result<u64, Error> {
        Ok(self
            .directory
            .keyed("memory.events", "oom_kill")
            .unwrap_or(0))
    }

    pub fn kill(&self) -> Result<(), Error> {
        match self.directory.set("cgroup.kill", "1") {
            Ok(()) => self.wait_until_empty(),
            Err(Errno::NOENT) if !self.directory.exists() => Ok(()),
            // Linux before 5.14 lacks this file.
            Err(Errno::NOENT) => freezer::kill_one_by_one(&self.directory),
            Err(errno) => Err(Error::io(
                "write to",
                &self.directory.path().join("cgroup.kill"),
                errno,
            )),
        }
    }

    pub fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let word = if frozen { "1" } else { "0" };
        match self.directory.write("cgroup.freeze", word) {
            // The group was removed meanwhile, so nothing is left to thaw.
            Err(_) if !frozen && !self.directory.exists() => return Ok(()),
            written => written?,
        }
        self.wait_for(
            "frozen",
            u64::from(frozen),
            if frozen { "freeze" } else { "thaw" },
        )
    }

    pub fn is_frozen(&self) -> Result<bool, Error> {
        Ok(self.directory.keyed("cgroup.events", "frozen") == Some(1))
    }

    /// Sets every limit. Returns a warning about defaults that cannot be set.
    fn set_up(&self, settings: &[Setting], request: &Request) -> Result<Option<String>, Error> {
        let mut dropped = Vec::new();
        for one in settings {
            match self.set(one) {
                Ok(()) => {}
                Err(error) => match one.need {
                    Need::Asked => return Err(error),
                    Need::Default => dropped.push(error.to_string()),
                    Need::Quiet => {}
                },
            }
        }
        if let Err(error) = self.confine_devices(request) {
            if request.confine_devices {
                return Err(error);
            }
            dropped.push(error.to_string());
        }
        Ok((!dropped.is_empty()).then(|| dropped.join("; ")))
    }

    /// Sets a limit. If its file is missing, its controller is enabled first; nearly always it is enabled already.
    fn set(&self, one: &Setting) -> Result<(), Error> {
        let present = one
            .ways
            .iter()
            .any(|(file, _)| self.directory.path().join(file).exists());
        if !present && !one.ways.is_empty() && one.controller != "cgroup" {
            self.hand_down(one.controller)
                .map_err(|reason| one.unsupported(&reason))?;
        }
        setting::apply(&self.directory, one)
    }

    /// Enables `controller` for the children of every group from the base down to the parent of this group.
    fn hand_down(&self, controller: &str) -> Result<(), String> {
        let parent = self.directory.path().parent().unwrap_or(&self.base);
        let mut above: Vec<&Path> = parent
            .ancestors()
            .take_while(|place| place.starts_with(&self.base))
            .collect();
        above.reverse();
        for place in above {
            let file = place.join("cgroup.subtree_control");
            let directory = Directory::new("cgroup", place.to_owned());
            directory.set("cgroup.subtree_control", &format!("+{controller}")).map_err(|errno| match errno {
                Errno::NOENT | Errno::INVAL => format!(
                    "the {controller} controller is not available in {}",
                    place.join("cgroup.controllers").display()
                ),
                Errno::BUSY => format!(
                    "the {controller} controller cannot be enabled in {}, as the group has processes of its own",
                    file.display()
                ),
                _ => format!(
                    "the {controller} controller cannot be enabled in {}: {}",
                    file.display(),
                    box_host::Reason(&errno.into())
                ),
            })?;
        }
        Ok(())
    }

    fn confine_devices(&self, request: &Request) -> Result<(), Error> {
        let rules = devices::rules(request.resources.devices().as_deref().unwrap_or_default())?;
        let program = device_program::assemble(&rules);
        let refused = |errno: Errno| Error::Limit {
            limit: "access to devices".to_owned(),
            reason: format!(
                "bpf for {}: {}",
                self.directory.path().display(),
                box_host::Reason(&errno.into())
            ),
        };
        let loaded = crate::sys::load_device_program(&program).map_err(refused)?;
        let directory = self.directory.open()?;
        crate::sys::attach_device_program(directory.as_fd(), &loaded).map_err(refused)
    }

    fn wait_until_empty(&self) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        // Processes that are ending are no longer listed, so the event file is read. Without that file the group no longer exists.
        while self.directory.keyed("cgroup.events", "populated") == Some(1) {
            if !backoff.wait(self.directory.all_pids().len()) {
                let place = self.directory.path();
                return Err(Error::io("end the processes of", place, Errno::BUSY));
            }
        }
        Ok(())
    }

    /// Waits for a value in the event file, at most some seconds.
    fn wait_for(&self, event: &str, value: u64, action: &'static str) -> Result<(), Error> {
        for wait in [0, 1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000] {
            sleep(Duration::from_millis(wait));
            match self.directory.keyed("cgroup.events", event) {
                Some(now) if now != value => {}
                // The value is reached, or the group no longer exists.
                _ => return Ok(()),
            }
        }
        Err(Error::io(action, self.directory.path(), Errno::BUSY))
    }
}
