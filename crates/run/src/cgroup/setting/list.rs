//! Settings collected from a spec, and the readers that both kinds of hierarchy share.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use crate::Error;

/// A limit and the file that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The controller's name.
    pub controller: &'static str,
    /// Files and values in order of preference, as kernels differ. Empty if this kind of hierarchy has no such limit.
    pub ways: Vec<(String, String)>,
    /// Its name in messages: `memory limit 64.0 MiB`.
    pub name: String,
    /// What to do if it cannot be set.
    pub need: Need,
}

/// What to do if a limit cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It was requested: fail.
    Asked,
    /// It is a default: drop it with a warning.
    Default,
    /// It accompanies another limit: drop it.
    Quiet,
}

impl Setting {
    /// The error for a limit that cannot be set.
    pub fn unsupported(&self, reason: &str) -> Error {
        Error::Limit {
            limit: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Settings in the order in which they are written.
#[derive(Default)]
pub(super) struct List(pub Vec<Setting>);

impl List {
    pub fn ask(
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

    pub fn quiet(&mut self, controller: &'static str, file: &str, value: impl ToString) {
        self.ask(controller, &[file], value, file.to_owned());
        if let Some(last) = self.0.last_mut() {
            last.need = Need::Quiet;
        }
    }
}

pub(super) fn pids(list: &mut List, resources: &LinuxResources) {
    let Some(pids) = resources.pids() else { return };
    // Zero means no limit in Docker and podman; for the kernel it would forbid the first process.
    let value = if pids.limit() > 0 {
        pids.limit().to_string()
    } else {
        "max".to_owned()
    };
    list.ask("pids", &["pids.max"], &value, format!("pids limit {value}"));
}

pub(super) fn hugepages(list: &mut List, resources: &LinuxResources, suffix: &str) {
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

/// A limit of twice the memory limit is the default, not a request. Kernels without swap accounting have no file for it, so it may
/// be dropped.
pub(super) fn soften_swap(list: &mut List, memory: &LinuxMemory) {
    let implied = memory
        .limit()
        .is_some_and(|limit| memory.swap() == limit.checked_mul(2));
    if let Some(last) = list.0.last_mut().filter(|_| implied) {
        last.need = Need::Quiet;
    }
}

pub(super) fn cpuset(list: &mut List, cpu: &LinuxCpu) {
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

/// Leaf weights belong to the CFQ scheduler, which Linux 5.0 removed.
pub(super) fn leaf_weight(list: &mut List, controller: &'static str, block: &LinuxBlockIo) {
    let mut devices = block.weight_device().iter().flatten();
    if block.leaf_weight().is_some() || devices.any(|device| device.leaf_weight().is_some()) {
        list.ask(controller, &[], "", "block I/O leaf weight".to_owned());
    }
}

pub(super) type Throttle<'a> = (
    &'a Option<Vec<LinuxThrottleDevice>>,
    &'static str,
    &'static str,
);

pub(super) fn throttles(block: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        (block.throttle_read_bps_device(), "bps", "read"),
        (block.throttle_write_bps_device(), "bps", "write"),
        (block.throttle_read_iops_device(), "iops", "read"),
        (block.throttle_write_iops_device(), "iops", "write"),
    ]
}

pub(super) fn size(number: i64) -> String {
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

/// Converts v1 shares to a v2 weight. runc's formula maps the whole range of shares to the range of weights instead, so the default
/// of 1024 becomes 39, less than everything else on the host has.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    (shares.saturating_mul(100) / 1024).clamp(1, 10_000)
}
