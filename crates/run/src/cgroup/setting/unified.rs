//! The files of v2, see the kernel's `admin-guide/cgroup-v2.rst`.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::list::{
    List, Setting, cpuset, hugepages, leaf_weight, pids, size, soften_swap, throttles,
    weight_of_shares,
};

/// The settings of v2.
pub fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut list = List::default();
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
        // The name becomes part of a path, and must not lead elsewhere.
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

/// The v2 controllers, which are also the prefixes of their files.
const KNOWN: [&str; 6] = ["memory", "cpuset", "cpu", "pids", "io", "hugetlb"];

fn unified_memory(list: &mut List, memory: &LinuxMemory) {
    if let Some(limit) = memory.limit() {
        list.ask(
            "memory",
            &["memory.max"],
            bytes(limit),
            format!("memory limit {}", size(limit)),
        );
        // If the OOM killer ends one process, it ends the whole container.
        list.quiet("memory", "memory.oom.group", 1);
    }
    if let Some(swap) = memory.swap() {
        // The runtime spec counts memory and swap together, as v1 does; v2 counts swap alone.
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

fn unified_block(list: &mut List, block: &LinuxBlockIo) {
    if let Some(weight) = block.weight() {
        list.ask(
            "io",
            &["io.bfq.weight"],
            weight,
            format!("block I/O weight {weight}"),
        );
        // The range 10 to 1000 of bfq is mapped to 1 to 10000.
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

/// v2 writes "no limit" as a word.
fn bytes(number: i64) -> String {
    if number < 0 {
        "max".to_owned()
    } else {
        number.to_string()
    }
}
