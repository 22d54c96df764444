//! The resource usage of a container.

use box_host::process::Stat;
use serde::Serialize;

/// The usage at one time. Values that the host does not count are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// CPU time of all its processes, in nanoseconds.
    pub cpu_nanoseconds: Option<u64>,
    /// The part spent in the kernel, in nanoseconds.
    pub cpu_system_nanoseconds: Option<u64>,
    /// Time that its CPU limit made it wait, in nanoseconds.
    pub cpu_throttled_nanoseconds: Option<u64>,
    /// Memory in use including page cache, in bytes.
    pub memory: Option<u64>,
    /// The part that is inactive page cache, which can be reclaimed at once, in bytes.
    pub memory_inactive_file: Option<u64>,
    /// The peak of memory in use, in bytes.
    pub memory_peak: Option<u64>,
    /// The memory limit, in bytes.
    pub memory_limit: Option<u64>,
    /// Number of processes killed by the OOM killer.
    pub oom_kills: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// The limit of processes and threads.
    pub pids_limit: Option<u64>,
    /// Block I/O.
    pub io: Option<Io>,
}

/// Bytes moved from and to block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Io {
    /// Read, in bytes.
    pub read: u64,
    /// Written, in bytes.
    pub written: u64,
}

impl Io {
    /// From `io.stat` of v2: lines `8:0 rbytes=1 wbytes=2 …`.
    pub fn from_unified(text: &str) -> Self {
        let sum = |key: &str| {
            text.split_ascii_whitespace()
                .filter_map(|field| field.strip_prefix(key)?.parse::<u64>().ok())
                .sum()
        };
        Self {
            read: sum("rbytes="),
            written: sum("wbytes="),
        }
    }

    /// From `/proc/PID/io`: lines `read_bytes: 1`.
    fn of_process(text: &str) -> Self {
        let number = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|value| value.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            read: number("read_bytes:"),
            written: number("write_bytes:"),
        }
    }

    /// From `blkio.throttle.io_service_bytes_recursive` of v1: lines `8:0 Read 1`.
    pub fn from_legacy(text: &str) -> Self {
        let sum = |verb: &str| {
            let fields = text
                .lines()
                .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
            fields
                .filter_map(|fields| {
                    (fields.get(1) == Some(&verb)).then(|| fields.get(2)?.parse::<u64>().ok())?
                })
                .sum()
        };
        Self {
            read: sum("Read"),
            written: sum("Write"),
        }
    }
}

/// Total and system CPU time of the processes and their reaped children, in nanoseconds, from `/proc/PID/stat`. For hosts where no
/// controller counts it for the group.
pub fn cpu_of_processes(pids: &[i32]) -> (u64, u64) {
    // USER_HZ is 100 on every architecture that box supports.
    let tick = 10_000_000;
    pids.iter().fold((0, 0), |(all, system), pid| {
        // A process that ends while we look counts as nothing.
        let Ok(stat) = Stat::of(*pid) else {
            return (all, system);
        };
        let ([user, kernel], [children_user, children_kernel]) =
            (stat.own_time, stat.children_time);
        let in_kernel = kernel + children_kernel;
        (
            all + (user + children_user + in_kernel) * tick,
            system + in_kernel * tick,
        )
    })
}

/// Bytes that the processes and their reaped children have read from and written to storage, from `/proc/PID/io` (proc_pid_io(5)).
/// `None` if no file can be read: the kernel does not count, or all processes have ended.
pub fn io_of_processes(pids: &[i32]) -> Option<Io> {
    let texts = pids
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/io")).ok());
    texts
        .map(|text| Io::of_process(&text))
        .reduce(|sum, one| Io {
            read: sum.read + one.read,
            written: sum.written + one.written,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_is_summed_over_devices_in_both_forms() {
        let unified = "254:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=7 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n";
        assert_eq!(
            Io::from_unified(unified),
            Io {
                read: 101,
                written: 22
            }
        );
        let legacy = "254:0 Read 100\n254:0 Write 20\n254:0 Sync 120\n254:0 Total 120\n8:0 Read 1\n8:0 Write 2\nTotal 123\n";
        assert_eq!(
            Io::from_legacy(legacy),
            Io {
                read: 101,
                written: 22
            }
        );
        assert_eq!(Io::from_legacy("No data available\n"), Io::default());
        let process =
            "rchar: 5\nwchar: 6\nread_bytes: 100\nwrite_bytes: 20\ncancelled_write_bytes: 3\n";
        let one = Io {
            read: 100,
            written: 20,
        };
        assert_eq!(Io::of_process(process), one);
        // Nobody to ask is not the same as nothing read.
        assert_eq!(io_of_processes(&[]), None);
    }

    #[test]
    fn own_cpu_time_is_counted() {
        let mut sum = 0_u64;
        while cpu_of_processes(&[std::process::id() as i32]).0 == 0 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    }
}
