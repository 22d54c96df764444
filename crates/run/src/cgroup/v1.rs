//! The v1 hierarchies, one for each controller.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::directory::Directory;
use super::freezer;
use super::host::{self, CONTROLLERS, Hierarchies};
use super::request::Request;
use super::setting::{self, Need, Setting};
use super::stats::{self, Io, Stats};
use crate::{Error, devices};
use box_host::Reason;

/// The groups of one container.
#[derive(Debug)]
pub struct Groups {
    /// One for each controller in use, in the order of [`CONTROLLERS`].
    made: Vec<Directory>,
    /// The path of each controller's group, whether it exists or not. A pause or an update makes some of them later.
    places: Vec<(&'static str, PathBuf)>,
}

/// Every container gets these: they measure its usage, stop fork bombs and confine devices.
const ALWAYS: [&str; 3] = ["memory", "pids", "devices"];

/// Without a memory limit the kernel shows a number above this: 2^63 rounded down to whole pages.
const UNLIMITED: u64 = 1 << 62;

/// Makes the groups that are needed and sets the limits.
pub fn create(
    hosts: &Hierarchies,
    path: &Path,
    request: &Request,
) -> Result<(Option<Groups>, Option<String>), Error> {
    let mut settings = setting::legacy(request.resources);
    setting::soften(&mut settings, request);
    let mut groups = Groups {
        made: Vec::new(),
        places: Vec::new(),
    };
    match groups.set_up(hosts, path, &settings, request) {
        Ok(warning) if groups.made.is_empty() => Ok((
            None,
            Some(format!(
                "the container runs without limits: {}",
                warning.unwrap_or_default()
            )),
        )),
        Ok(warning) => Ok((Some(groups), warning)),
        Err(error) => {
            for directory in &groups.made {
                directory.remove_if_empty();
            }
            Err(error)
        }
    }
}

/// Opens the groups of a container that was started.
pub fn open(hosts: &Hierarchies, path: &Path) -> Option<Groups> {
    let by_root = is_root();
    let places: Vec<_> = CONTROLLERS
        .iter()
        .filter_map(|controller| Some((*controller, place(hosts, by_root, controller, path)?)))
        .collect();
    let made = places
        .iter()
        .map(|(controller, place)| Directory::new(controller, place.clone()));
    let made: Vec<_> = made.filter(Directory::exists).collect();
    (!made.is_empty()).then_some(Groups { made, places })
}

/// The content of freezer.state when all processes are frozen.
const FROZEN: &str = "FROZEN";

/// Whether the group with this path is frozen.
pub fn is_frozen(hosts: &Hierarchies, path: &Path) -> bool {
    place(hosts, is_root(), "freezer", path)
        .and_then(|place| Directory::new("freezer", place).read("freezer.state").ok())
        .is_some_and(|state| state.trim() == FROZEN)
}

impl Groups {
    /// The groups that were made, or found at the beginning.
    pub fn directories(&self) -> Vec<&Directory> {
        self.made.iter().collect()
    }

    /// Removes groups that other processes made for this container later. Groups with processes stay.
    pub fn remove_later_ones(&self) {
        for (controller, place) in &self.places {
            if self.group(controller).is_none() {
                Directory::new(controller, place.clone()).remove_if_empty();
            }
        }
    }

    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        let mut settings = setting::legacy(resources);
        self.order_swap(&mut settings);
        for one in &settings {
            match self
                .ensure(one)
                .and_then(|directory| setting::apply(&directory, one))
            {
                Err(error) if one.need == Need::Asked => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn stats(&self) -> Result<Stats, Error> {
        let number = |controller: &str, file: &str| self.group(controller)?.number(file);
        let keyed =
            |controller: &str, file: &str, key: &str| self.group(controller)?.keyed(file, key);
        let (cpuacct, blkio) = (self.group("cpuacct"), self.group("blkio"));
        // What no group counts is summed over the live processes.
        let pids = match (self.made.first(), cpuacct, blkio) {
            (None, ..) | (_, Some(_), Some(_)) => Vec::new(),
            (Some(members), ..) => members.all_pids(),
        };
        let (used, system) = match cpuacct {
            Some(group) => (
                group.number("cpuacct.usage"),
                group.number("cpuacct.usage_sys"),
            ),
            None => {
                let (used, system) = stats::cpu_of_processes(&pids);
                (Some(used), Some(system))
            }
        };
        let io = match blkio {
            Some(group) => group
                .read("blkio.throttle.io_service_bytes_recursive")
                .ok()
                .map(|text| Io::from_legacy(&text)),
            None => stats::io_of_processes(&pids),
        };
        Ok(Stats {
            cpu_nanoseconds: used,
            cpu_system_nanoseconds: system,
            cpu_throttled_nanoseconds: keyed("cpu", "cpu.stat", "throttled_time"),
            memory: number("memory", "memory.usage_in_bytes"),
            memory_inactive_file: keyed("memory", "memory.stat", "total_inactive_file"),
            memory_peak: number("memory", "memory.max_usage_in_bytes"),
            memory_limit: number("memory", "memory.limit_in_bytes")
                .filter(|limit| *limit < UNLIMITED),
            oom_kills: keyed("memory", "memory.oom_control", "oom_kill"),
            pids: number("pids", "pids.current"),
            pids_limit: number("pids", "pids.max"),
            io,
        })
    }

    pub fn oom_kills(&self) -> Result<u64, Error> {
        let kills = self
            .group("memory")
            .and_then(|group| group.keyed("memory.oom_control", "oom_kill"));
        Ok(kills.unwrap_or(0))
    }

    pub fn kill(&self) -> Result<(), Error> {
        // A frozen process only dies once it is thawed.
        if self.is_frozen()? {
            self.set_frozen(false)?;
        }
        self.made.iter().try_for_each(freezer::kill_one_by_one)
    }

    pub fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let group = match self.existing("freezer") {
            Some(group) => group,
            None if !frozen => return Ok(()),
            None => self.make("freezer").map_err(|reason| Error::Limit {
                limit: "a pause".to_owned(),
                reason,
            })?,
        };
        let (word, action) = if frozen {
            (FROZEN, "freeze")
        } else {
            ("THAWED", "thaw")
        };
        for wait in [0, 1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] {
            sleep(Duration::from_millis(wait));
            // Written again each time, because a process forked meanwhile may have missed it (freezer-subsystem.rst).
            let state = group
                .write("freezer.state", word)
                .and_then(|()| group.read("freezer.state"));
            match state {
                Ok(state) if state.trim() == word => return Ok(()),
                Ok(_) => {}
                // It ended meanwhile, and there is nothing to thaw.
                Err(_) if !frozen && !group.exists() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(Error::io(action, group.path(), Errno::BUSY))
    }

    pub fn is_frozen(&self) -> Result<bool, Error> {
        let Some(group) = self.existing("freezer") else {
            return Ok(false);
        };
        match group.read("freezer.state") {
            Ok(state) => Ok(state.trim() == FROZEN),
            // It ended meanwhile.
            Err(_) if !group.exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the groups and sets every limit. Returns a warning about defaults that cannot be set.
    fn set_up(
        &mut self,
        hosts: &Hierarchies,
        path: &Path,
        settings: &[Setting],
        request: &Request,
    ) -> Result<Option<String>, Error> {
        let by_root = is_root();
        self.places = CONTROLLERS
            .iter()
            .filter_map(|controller| Some((*controller, place(hosts, by_root, controller, path)?)))
            .collect();
        let mut dropped = Vec::new();
        for controller in CONTROLLERS {
            let mine: Vec<&Setting> = settings
                .iter()
                .filter(|one| one.controller == controller)
                .collect();
            let wanted =
                ALWAYS.contains(&controller) || (request.count_cpu && controller == "cpuacct");
            if mine.is_empty() && !wanted {
                continue;
            }
            let made = match self.places.iter().find(|(name, _)| *name == controller) {
                None => Err(format!(
                    "the {controller} controller is not mounted at {}",
                    hosts.expected(controller).display()
                )),
                Some((_, place)) => make(controller, place),
            };
            let failure = match made {
                Ok(directory) => {
                    self.made.push(directory);
                    None
                }
                Err(reason) => Some(reason),
            };
            for one in mine {
                let done = match (&failure, self.group(controller)) {
                    (None, Some(directory)) => setting::apply(directory, one),
                    (reason, _) => {
                        Err(one.unsupported(reason.as_deref().unwrap_or("its group is missing")))
                    }
                };
                match (done, one.need) {
                    (Err(error), Need::Asked) => return Err(error),
                    (Err(error), Need::Default) => dropped.push(error.to_string()),
                    _ => {}
                }
            }
            if controller == "devices" {
                let done = match (failure, self.group(controller)) {
                    (None, Some(directory)) => confine(directory, request),
                    (reason, _) => Err(Error::Limit {
                        limit: "access to devices".to_owned(),
                        reason: reason.unwrap_or_default(),
                    }),
                };
                match done {
                    Err(error) if request.confine_devices => return Err(error),
                    Err(error) => dropped.push(error.to_string()),
                    Ok(()) => {}
                }
            }
        }
        if let Some(stray) = settings
            .iter()
            .find(|one| !CONTROLLERS.contains(&one.controller))
        {
            return Err(stray.unsupported("this host has cgroup v1"));
        }
        Ok((!dropped.is_empty()).then(|| dropped.join("; ")))
    }

    /// The group of a controller, if it was made or found at the beginning.
    fn group(&self, controller: &str) -> Option<&Directory> {
        self.made
            .iter()
            .find(|directory| directory.controller == controller)
    }

    /// The group of a controller, probed again because another process may have made it.
    fn existing(&self, controller: &str) -> Option<Directory> {
        let (controller, place) = self.places.iter().find(|(name, _)| *name == controller)?;
        Some(Directory::new(controller, place.clone())).filter(Directory::exists)
    }

    /// The group that a setting needs. If it is missing, it is made and the container's processes are moved there.
    fn ensure(&self, one: &Setting) -> Result<Directory, Error> {
        match self.existing(one.controller) {
            Some(directory) => Ok(directory),
            None => self
                .make(one.controller)
                .map_err(|reason| one.unsupported(&reason)),
        }
    }

    /// Makes a group for a running container and moves its processes there.
    fn make(&self, controller: &str) -> Result<Directory, String> {
        let found = self.places.iter().find(|(name, _)| *name == controller);
        let (controller, place) =
            found.ok_or_else(|| format!("the {controller} controller is not mounted"))?;
        let directory = make(controller, place)?;
        let Some(members) = self.made.first() else {
            return Ok(directory);
        };
        // The next round finds children that were forked before their parent was moved.
        for _ in 0..100 {
            let inside = directory.all_pids();
            let outside: Vec<i32> = members
                .all_pids()
                .into_iter()
                .filter(|pid| !inside.contains(pid))
                .collect();
            if outside.is_empty() {
                return Ok(directory);
            }
            for pid in outside {
                match directory.set("cgroup.procs", &pid.to_string()) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => {
                        return Err(format!(
                            "move process {pid} to {}: {}",
                            place.display(),
                            Reason(&errno.into())
                        ));
                    }
                }
            }
        }
        Err(format!(
            "move the container's processes to {}: they fork faster than they can be moved",
            place.display()
        ))
    }

    /// The kernel refuses a memory limit above the limit of memory and swap, so the larger one must be raised first.
    fn order_swap(&self, settings: &mut [Setting]) {
        let place = |settings: &[Setting], file: &str| {
            settings
                .iter()
                .position(|one| one.ways.first().is_some_and(|(name, _)| name == file))
        };
        let memory = place(settings, "memory.limit_in_bytes");
        let swap = place(settings, "memory.memsw.limit_in_bytes");
        if let (Some(memory), Some(swap)) = (memory, swap) {
            let asked: i64 = settings[memory].ways[0].1.parse().unwrap_or(-1);
            let present = self
                .group("memory")
                .and_then(|group| group.number("memory.memsw.limit_in_bytes"));
            if asked < 0 || present.is_some_and(|present| asked as u64 > present) {
                settings.swap(memory, swap);
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The path of a container's group in the hierarchy of `controller`: relative to its root for root, to the own group for other
/// users.
fn place(hosts: &Hierarchies, by_root: bool, controller: &str, path: &Path) -> Option<PathBuf> {
    let root = hosts.root(controller)?;
    if by_root {
        return Some(root.join(path));
    }
    Some(root.join(host::own_group(controller).ok()??).join(path))
}

fn make(controller: &'static str, place: &Path) -> Result<Directory, String> {
    let directory = Directory::create(controller, place.to_owned())
        .map_err(|error| format!("create cgroup {}: {}", place.display(), Reason(&error)))?;
    if controller == "cpuset" {
        inherit_cpuset(&directory)?;
    }
    Ok(directory)
}

/// A new cpuset is empty, and accepts processes only once it has CPUs and memory nodes. It gets those of its parent.
fn inherit_cpuset(directory: &Directory) -> Result<(), String> {
    let mut levels: Vec<Directory> = directory
        .path()
        .ancestors()
        .skip(1)
        .take_while(|place| place.join("cpuset.cpus").exists())
        .map(|place| Directory::new("cpuset", place.to_owned()))
        .collect();
    levels.reverse();
    levels.push(Directory::new("cpuset", directory.path().to_owned()));
    for pair in levels.windows(2) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |level: &Directory| level.read(file).map_err(|error| error.to_string());
            if read(&pair[1])?.trim().is_empty() {
                let value = read(&pair[0])?;
                pair[1]
                    .write(file, value.trim())
                    .map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

fn confine(directory: &Directory, request: &Request) -> Result<(), Error> {
    let rules = devices::rules(request.resources.devices().as_deref().unwrap_or_default())?;
    // Each rule takes one write(2), but not an open(2) of its own, which would cost more.
    let deny = directory.open_for_writing("devices.deny")?;
    let allow = directory.open_for_writing("devices.allow")?;
    for rule in rules {
        let file = if rule.allow { &allow } else { &deny };
        rustix::io::write(file, rule.to_string().as_bytes()).map_err(|errno| Error::Limit {
            limit: "access to devices".to_owned(),
            reason: format!(
                "devices controller, {}: rule {rule}: {}",
                directory.path().display(),
                Reason(&errno.into())
            ),
        })?;
    }
    Ok(())
}
