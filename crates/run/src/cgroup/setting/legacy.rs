//! The files of v1, see the kernel's `admin-guide/cgroup-v1`.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::list::{
    List, Setting, cpuset, hugepages, leaf_weight, pids, size, soften_swap, throttles,
};

/// The settings of v1.
pub fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut list = List::default();
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

fn legacy_cpu(list: &mut List, cpu: &LinuxCpu) {
    if let Some(shares) = cpu.shares() {
        list.ask(
            "cpu",
            &["cpu.shares"],
            shares,
            format!("cpu shares {shares}"),
        );
    }
    // The period comes first, as the kernel checks the quota against it.
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
