//! Limits as the files and values of either kind of hierarchy. Pure but for [`apply`].

mod legacy;
mod unified;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use rustix::io::Errno;

use super::Request;
use super::directory::Directory;
use crate::Error;
use box_host::Reason;
pub use legacy::settings as legacy;
pub use unified::settings as unified;

/// One limit and the file that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The controller's name.
    pub controller: &'static str,
    /// Files and values in order of preference: a kernel may have one or the other. None: this kind of hierarchy cannot do it.
    pub ways: Vec<(String, String)>,
    /// What it is, for messages: `memory limit 64.0 MiB`.
    pub name: String,
    /// What happens where it cannot be set.
    pub need: Need,
}

/// How much a limit is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Asked for by the user: an error.
    Asked,
    /// A default: dropped with a warning.
    Default,
    /// Comes along with another one: dropped.
    Quiet,
}

/// The shares of v1 that the kernel takes for a weight of v2, 1 to 10000: 100 and 1024 are what a group has when
/// nothing is set, and the kernel itself converts in proportion.
pub fn shares_of_weight(weight: u64) -> u64 {
    (weight * 1024).div_ceil(100).max(2)
}

/// The other way. runc's formula spreads the whole range of shares over the range of weights instead, so that
/// the default of one becomes 39 of the other and loses against everything else on the host.
fn weight_of_shares(shares: u64) -> u64 {
    (shares.saturating_mul(100) / 1024).clamp(1, 10_000)
}

/// Sets one limit in `directory`.
pub fn apply(directory: &Directory, setting: &Setting) -> Result<(), Error> {
    let mut failure = (String::new(), Errno::NOENT);
    for (file, value) in &setting.ways {
        match directory.set(file, value) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) if !failure.0.is_empty() => {}
            Err(errno) => failure = (file.clone(), errno),
        }
        if failure.1 != Errno::NOENT {
            break;
        }
    }
    let (file, errno) = failure;
    if file.is_empty() {
        return Err(setting.unsupported("this kind of cgroup hierarchy has no file for it"));
    }
    let path = directory.path().join(file);
    let value = setting.ways.last().map_or("", |(_, value)| value);
    let words = match errno {
        Errno::BUSY => "the container uses more than that already".to_owned(),
        Errno::INVAL | Errno::RANGE => format!("the kernel does not accept the value {value:?}"),
        _ => Reason(&errno.into()).to_string(),
    };
    Err(setting.unsupported(&format!(
        "{} controller, {}: {words}",
        setting.controller,
        path.display()
    )))
}

/// Refuses what was asked for where no limit can be set at all.
pub fn refuse_all(request: &Request, reason: &str) -> Result<(), Error> {
    if request.confine_devices {
        return Err(Error::Limit {
            limit: "access to devices".to_owned(),
            reason: reason.to_owned(),
        });
    }
    let mut settings = legacy(request.resources);
    soften(&mut settings, request);
    refuse_settings(&settings, reason)
}

/// The same for an update.
pub fn refuse_resources(resources: &LinuxResources, reason: &str) -> Result<(), Error> {
    refuse_settings(&legacy(resources), reason)
}

/// Marks the default pids limit as such.
pub fn soften(settings: &mut [Setting], request: &Request) {
    for setting in settings
        .iter_mut()
        .filter(|setting| request.pids_by_default && setting.controller == "pids")
    {
        setting.need = Need::Default;
    }
}

impl Setting {
    /// The error that it cannot be set.
    pub fn unsupported(&self, reason: &str) -> Error {
        Error::Limit {
            limit: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Settings in the order they are written.
#[derive(Default)]
struct List(Vec<Setting>);

impl List {
    fn ask(
        &mut self,
        controller: &'static str,
        files: &[&str],
        value: impl ToString,
        name: String,
    ) {
        let value = value.to_string();
        let ways = files
            .iter()
            .map(|file| ((*file).to_owned(), value.clone()))
            .collect();
        self.0.push(Setting {
            controller,
            ways,
            name,
            need: Need::Asked,
        });
    }

    fn quiet(&mut self, controller: &'static str, file: &str, value: impl ToString) {
        self.ask(controller, &[file], value, file.to_owned());
        if let Some(last) = self.0.last_mut() {
            last.need = Need::Quiet;
        }
    }
}

fn refuse_settings(settings: &[Setting], reason: &str) -> Result<(), Error> {
    settings
        .iter()
        .find(|setting| setting.need == Need::Asked)
        .map_or(Ok(()), |setting| Err(setting.unsupported(reason)))
}

fn pids(list: &mut List, resources: &LinuxResources) {
    let Some(pids) = resources.pids() else { return };
    // Zero means no limit for Docker and podman; for the kernel it would forbid the first process.
    let value = if pids.limit() > 0 {
        pids.limit().to_string()
    } else {
        "max".to_owned()
    };
    list.ask("pids", &["pids.max"], &value, format!("pids limit {value}"));
}

fn hugepages(list: &mut List, resources: &LinuxResources, suffix: &str) {
    for limit in resources.hugepage_limits().iter().flatten() {
        let name = format!("limit of {} huge pages", limit.page_size());
        let file = format!("hugetlb.{}.{suffix}", limit.page_size());
        let files: &[&str] = if limit.page_size().contains('/') {
            &[]
        } else {
            &[&file]
        };
        list.ask("hugetlb", files, limit.limit(), name);
    }
}

/// Twice the memory limit is what is written where no swap limit was asked for; kernels without swap accounting
/// have no file for it, and then nothing that was asked for is lost.
fn soften_swap(list: &mut List, memory: &LinuxMemory) {
    let implied = memory
        .limit()
        .is_some_and(|limit| memory.swap() == limit.checked_mul(2));
    if let Some(last) = list.0.last_mut().filter(|_| implied) {
        last.need = Need::Quiet;
    }
}

fn cpuset(list: &mut List, cpu: &LinuxCpu) {
    if let Some(cpus) = cpu.cpus().as_ref().filter(|cpus| !cpus.is_empty()) {
        list.ask("cpuset", &["cpuset.cpus"], cpus, format!("cpus {cpus}"));
    }
    if let Some(mems) = cpu.mems().as_ref().filter(|mems| !mems.is_empty()) {
        list.ask(
            "cpuset",
            &["cpuset.mems"],
            mems,
            format!("memory nodes {mems}"),
        );
    }
}

/// A notion of the CFQ scheduler, which the kernel lost in 5.0.
fn leaf_weight(list: &mut List, controller: &'static str, block: &LinuxBlockIo) {
    let mut devices = block.weight_device().iter().flatten();
    if block.leaf_weight().is_some() || devices.any(|device| device.leaf_weight().is_some()) {
        list.ask(controller, &[], "", "block I/O leaf weight".to_owned());
    }
}

type Throttle<'a> = (
    &'a Option<Vec<LinuxThrottleDevice>>,
    &'static str,
    &'static str,
);

fn throttles(block: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        (block.throttle_read_bps_device(), "bps", "read"),
        (block.throttle_write_bps_device(), "bps", "write"),
        (block.throttle_read_iops_device(), "iops", "read"),
        (block.throttle_write_iops_device(), "iops", "write"),
    ]
}

fn size(number: i64) -> String {
    match u64::try_from(number) {
        Ok(number) => in_binary_units(number),
        Err(_) => "unlimited".to_owned(),
    }
}

/// `64.0 MiB`.
fn in_binary_units(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[cfg(test)]
mod tests;
