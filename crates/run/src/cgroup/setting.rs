//! Limits as the files and values of either kind of hierarchy. Pure but for [`apply`].

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use rustix::io::Errno;

use super::Request;
use super::directory::Directory;
use crate::Error;
use crate::error::Words;

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

/// The settings of v1.
pub fn legacy(resources: &LinuxResources) -> Vec<Setting> {
    let mut list = List(Vec::new());
    if let Some(memory) = resources.memory() {
        legacy_memory(&mut list, memory);
    }
    if let Some(cpu) = resources.cpu() {
        legacy_cpu(&mut list, cpu);
    }
    pids(&mut list, resources);
    if let Some(block) = resources.block_io() {
        legacy_block(&mut list, block);
    }
    hugepages(&mut list, resources, "limit_in_bytes");
    for (file, value) in resources.unified().iter().flatten() {
        list.ask(
            "unified",
            &[],
            "",
            format!("{file}={value} (a file of cgroup v2)"),
        );
    }
    list.0
}

/// The settings of v2.
pub fn unified(resources: &LinuxResources) -> Vec<Setting> {
    let mut list = List(Vec::new());
    if let Some(memory) = resources.memory() {
        unified_memory(&mut list, memory);
    }
    if let Some(cpu) = resources.cpu() {
        unified_cpu(&mut list, cpu);
    }
    pids(&mut list, resources);
    if let Some(block) = resources.block_io() {
        unified_block(&mut list, block);
    }
    hugepages(&mut list, resources, "max");
    for (file, value) in resources.unified().iter().flatten() {
        let controller = KNOWN.iter().find(|known| {
            file.strip_prefix(**known)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        // The name becomes part of a path.
        let files: &[&str] = if file.contains('/') || file.starts_with('.') {
            &[]
        } else {
            &[file]
        };
        list.ask(
            controller.copied().unwrap_or("cgroup"),
            files,
            value,
            format!("{file}={value}"),
        );
    }
    list.0
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
        _ => Words(&errno.into()).to_string(),
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

/// The controllers of v2 by the prefix of their files.
const KNOWN: [&str; 6] = ["memory", "cpuset", "cpu", "pids", "io", "hugetlb"];

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

fn legacy_memory(list: &mut List, memory: &LinuxMemory) {
    if let Some(limit) = memory.limit() {
        list.ask(
            "memory",
            &["memory.limit_in_bytes"],
            limit,
            format!("memory limit {}", size(limit)),
        );
    }
    if let Some(swap) = memory.swap() {
        let name = format!("memory and swap limit {}", size(swap));
        list.ask("memory", &["memory.memsw.limit_in_bytes"], swap, name);
        soften_swap(list, memory);
    }
    if let Some(reservation) = memory.reservation() {
        let name = format!("memory reservation {}", size(reservation));
        list.ask("memory", &["memory.soft_limit_in_bytes"], reservation, name);
    }
    if let Some(swappiness) = memory.swappiness() {
        list.ask(
            "memory",
            &["memory.swappiness"],
            swappiness,
            format!("swappiness {swappiness}"),
        );
    }
    if memory.disable_oom_killer() == Some(true) {
        list.ask(
            "memory",
            &["memory.oom_control"],
            1,
            "disabled OOM killer".to_owned(),
        );
    }
    if let Some(limit) = memory.kernel_tcp() {
        let name = format!("TCP buffer limit {}", size(limit));
        list.ask("memory", &["memory.kmem.tcp.limit_in_bytes"], limit, name);
    }
}

fn unified_memory(list: &mut List, memory: &LinuxMemory) {
    if let Some(limit) = memory.limit() {
        list.ask(
            "memory",
            &["memory.max"],
            bytes(limit),
            format!("memory limit {}", size(limit)),
        );
        // Half a container is no use: what the killer begins it ends.
        list.quiet("memory", "memory.oom.group", 1);
    }
    if let Some(swap) = memory.swap() {
        // The OCI counts memory and swap together, as v1 does; v2 counts swap alone.
        let limit = memory.limit().filter(|limit| *limit > 0).unwrap_or(0);
        let alone = if swap < 0 {
            swap
        } else {
            (swap - limit).max(0)
        };
        let name = format!("memory and swap limit {}", size(swap));
        list.ask("memory", &["memory.swap.max"], bytes(alone), name);
        soften_swap(list, memory);
    }
    if let Some(reservation) = memory.reservation() {
        let name = format!("memory reservation {}", size(reservation));
        list.ask("memory", &["memory.low"], bytes(reservation), name);
    }
    if let Some(swappiness) = memory.swappiness() {
        list.ask("memory", &[], "", format!("swappiness {swappiness}"));
    }
    if memory.disable_oom_killer() == Some(true) {
        list.ask("memory", &[], "", "disabled OOM killer".to_owned());
    }
    if let Some(limit) = memory.kernel_tcp() {
        list.ask(
            "memory",
            &[],
            "",
            format!("TCP buffer limit {}", size(limit)),
        );
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

fn legacy_cpu(list: &mut List, cpu: &LinuxCpu) {
    if let Some(shares) = cpu.shares() {
        list.ask(
            "cpu",
            &["cpu.shares"],
            shares,
            format!("cpu shares {shares}"),
        );
    }
    // The period first: a quota must not be below 1 ms of it.
    if let Some(period) = cpu.period() {
        list.ask(
            "cpu",
            &["cpu.cfs_period_us"],
            period,
            format!("cpu period {period} us"),
        );
    }
    if let Some(quota) = cpu.quota() {
        list.ask(
            "cpu",
            &["cpu.cfs_quota_us"],
            quota,
            format!("cpu limit {quota} us of each period"),
        );
    }
    if let Some(burst) = cpu.burst() {
        list.ask(
            "cpu",
            &["cpu.cfs_burst_us"],
            burst,
            format!("cpu burst {burst} us"),
        );
    }
    if let Some(period) = cpu.realtime_period() {
        list.ask(
            "cpu",
            &["cpu.rt_period_us"],
            period,
            format!("realtime period {period} us"),
        );
    }
    if let Some(runtime) = cpu.realtime_runtime() {
        list.ask(
            "cpu",
            &["cpu.rt_runtime_us"],
            runtime,
            format!("realtime limit {runtime} us of each period"),
        );
    }
    if let Some(idle) = cpu.idle() {
        list.ask("cpu", &["cpu.idle"], idle, format!("cpu idle {idle}"));
    }
    cpuset(list, cpu);
}

fn unified_cpu(list: &mut List, cpu: &LinuxCpu) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        list.ask(
            "cpu",
            &["cpu.weight"],
            weight_of_shares(shares),
            format!("cpu shares {shares}"),
        );
    }
    if cpu.quota().is_some() || cpu.period().is_some() {
        let quota = cpu
            .quota()
            .filter(|quota| *quota > 0)
            .map_or("max".to_owned(), |quota| quota.to_string());
        let period = cpu.period().unwrap_or(100_000);
        list.ask(
            "cpu",
            &["cpu.max"],
            format!("{quota} {period}"),
            format!("cpu limit {quota} of each {period} us"),
        );
    }
    if let Some(burst) = cpu.burst() {
        list.ask(
            "cpu",
            &["cpu.max.burst"],
            burst,
            format!("cpu burst {burst} us"),
        );
    }
    if cpu.realtime_period().is_some() || cpu.realtime_runtime().is_some() {
        list.ask("cpu", &[], "", "realtime limit".to_owned());
    }
    if let Some(idle) = cpu.idle() {
        list.ask("cpu", &["cpu.idle"], idle, format!("cpu idle {idle}"));
    }
    cpuset(list, cpu);
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

fn legacy_block(list: &mut List, block: &LinuxBlockIo) {
    if let Some(weight) = block.weight() {
        list.ask(
            "blkio",
            &["blkio.bfq.weight", "blkio.weight"],
            weight,
            format!("block I/O weight {weight}"),
        );
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            let name = format!("block I/O weight {value}");
            list.ask(
                "blkio",
                &["blkio.bfq.weight_device", "blkio.weight_device"],
                value,
                name,
            );
        }
    }
    leaf_weight(list, "blkio", block);
    for (devices, what, verb) in throttles(block) {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            let file = format!("blkio.throttle.{verb}_{what}_device");
            let name = format!("{verb} limit {value} {what}");
            list.ask("blkio", &[&file], value, name);
        }
    }
}

fn unified_block(list: &mut List, block: &LinuxBlockIo) {
    if let Some(weight) = block.weight() {
        list.ask(
            "io",
            &["io.bfq.weight"],
            weight,
            format!("block I/O weight {weight}"),
        );
        // 10 to 1000 of bfq becomes 1 to 10000.
        let general = 1 + u64::from(weight).saturating_sub(10) * 9999 / 990;
        if let Some(last) = list.0.last_mut() {
            last.ways
                .push(("io.weight".to_owned(), general.to_string()));
        }
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            let name = format!("block I/O weight {value}");
            list.ask("io", &["io.bfq.weight"], value, name);
        }
    }
    leaf_weight(list, "io", block);
    for (devices, what, verb) in throttles(block) {
        for device in devices.iter().flatten() {
            let key = format!("{}{what}", &verb[..1]);
            let value = format!(
                "{}:{} {key}={}",
                device.major(),
                device.minor(),
                device.rate()
            );
            let name = format!(
                "{verb} limit {} {what} of device {}:{}",
                device.rate(),
                device.major(),
                device.minor()
            );
            list.ask("io", &["io.max"], value, name);
        }
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
    &'a Option<Vec<oci_spec::runtime::LinuxThrottleDevice>>,
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

/// v2 writes "no limit" as a word.
fn bytes(number: i64) -> String {
    if number < 0 {
        "max".to_owned()
    } else {
        number.to_string()
    }
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
