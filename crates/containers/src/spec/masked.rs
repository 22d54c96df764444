//! The paths below /proc and /sys that are hidden from a container, or read-only.
//!
//! The lists of moby, podman (containers/common) and runc as of 2026; where they differ, the stricter one, with one exception: podman's
//! `/sys/dev/block`. Programs use it to look up the disk of a file, and everything in it is below /sys/class/block as well. In addition
//! `/sys/fs/pstore`, where the kernel keeps its messages before a crash.

use std::path::Path;

/// Hidden paths, which reveal or change the state of the host. Missing ones are skipped.
pub(crate) const MASKED: [&str; 15] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/devices/virtual/tpm",
    "/sys/firmware",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
];

/// Read-only paths.
pub(crate) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Counters of this host that reveal the activity of other programs, as `/proc/interrupts` does (GHSA-6fw5-f8r9-fgfm): one directory
/// for each online processor.
pub fn throttle_counters() -> Vec<String> {
    counters_below(Path::new("/sys/devices/system/cpu"))
}

fn counters_below(cpus: &Path) -> Vec<String> {
    const NAME: &str = "thermal_throttle";
    // If the first processor has none, as in most virtual machines, neither have the others.
    if !cpus.join("cpu0").join(NAME).exists() {
        return vec![];
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut found: Vec<String> = std::fs::read_dir(cpus)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
            number.is_some_and(is_number) && entry.path().join(NAME).exists()
        })
        .map(|entry| entry.path().join(NAME).display().to_string())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counters_of_each_processor_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "cpu0/thermal_throttle",
            "cpu12/thermal_throttle",
            "cpu2",
            "cpufreq/thermal_throttle",
        ] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let expected = ["cpu0", "cpu12"].map(|cpu| {
            let path = dir.path().join(cpu).join("thermal_throttle");
            path.display().to_string()
        });
        assert_eq!(counters_below(dir.path()), expected);
        std::fs::remove_dir(dir.path().join("cpu0/thermal_throttle")).unwrap();
        assert!(counters_below(dir.path()).is_empty());
        assert!(counters_below(Path::new("/nowhere")).is_empty());
    }
}
