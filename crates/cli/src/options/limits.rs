//! The limit flags of `box run` and `box update`, and the resources of a runtime spec that they stand for.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use box_run::cgroup::shares_of_weight;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder,
};

use crate::options::flag::{Flag, Slot};
use crate::options::{self, refused};
use crate::report::{Failure, cause};

/// The CPU period of `--cpus`, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// The smallest memory limit; docker has the same.
const MIN_MEMORY: u64 = 6 << 20;

/// Limits of a container's resources.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Memory limit, such as 512m or 1.5g
    #[arg(short, long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Limit of memory and swap together, -1 for unlimited swap [default: twice --memory]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Memory reserved for the container when the host runs short
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Number of CPUs, such as 1.5
    #[arg(long, value_name = "N", conflicts_with_all = ["cpu_quota", "cpu_period"])]
    cpus: Option<String>,
    /// CPU time per period in microseconds, -1 for no limit
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// CPU period in microseconds
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    cpu_period: Option<u64>,
    /// Relative share of the CPUs when they are busy; the default of all containers is 1024
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    cpu_shares: Option<u64>,
    /// Relative share of the CPUs in units of cgroup v2; the default of all containers is 100
    #[arg(long, value_name = "N", conflicts_with = "cpu_shares", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    cpu_weight: Option<u64>,
    /// CPUs that the container may run on, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that the container may use, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Limit of processes and threads, -1 for no limit [default: 4096]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pids_limit: Option<i64>,
    /// Relative share of block I/O when devices are busy, 10 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..=1000))]
    blkio_weight: Option<u16>,
    /// Limit of bytes read from a device per second, such as /dev/sda:1m
    #[arg(long, value_name = "DEVICE:RATE")]
    device_read_bps: Vec<String>,
    /// Limit of bytes written to a device per second
    #[arg(long, value_name = "DEVICE:RATE")]
    device_write_bps: Vec<String>,
    /// Limit of read operations on a device per second
    #[arg(long, value_name = "DEVICE:N")]
    device_read_iops: Vec<String>,
    /// Limit of write operations on a device per second
    #[arg(long, value_name = "DEVICE:N")]
    device_write_iops: Vec<String>,
}

impl LimitArgs {
    /// The flags that are read without clap: all except rare ones and those whose values clap checks.
    const FLAGS: &[Flag<LimitArgs>] = &[
        Flag {
            names: &["-m", "--memory"],
            slot: |args| Slot::Text(&mut args.memory),
        },
        Flag {
            names: &["--cpus"],
            slot: |args| Slot::Text(&mut args.cpus),
        },
    ];

    /// The place for the value of a flag; `None` for a flag that is left to clap.
    pub fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Flag::named(Self::FLAGS, name).map(|flag| (flag.slot)(self))
    }

    /// The names of all flags that are read without clap.
    #[cfg(test)]
    pub fn flag_names() -> Vec<&'static str> {
        Flag::all_names(Self::FLAGS)
    }

    /// The requested resources. `None` if there was no flag.
    pub fn resources(&self) -> Result<Option<LinuxResources>, Failure> {
        let mut resources = LinuxResources::default();
        resources
            .set_memory(self.memory()?)
            .set_cpu(self.cpu()?)
            .set_block_io(self.block_io()?);
        if let Some(limit) = self.pids_limit {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            resources.set_pids(Some(pids));
        }
        Ok((resources != LinuxResources::default()).then_some(resources))
    }

    fn memory(&self) -> Result<Option<LinuxMemory>, Failure> {
        let limit = match self.memory.as_deref() {
            None => None,
            Some("0" | "-1") => Some(-1),
            Some(text) => Some(self.least(text)?),
        };
        let swap = match (self.memory_swap.as_deref(), limit) {
            (None, None) => None,
            (None, Some(-1)) => Some(-1),
            (None, Some(limit)) => Some(limit.saturating_mul(2)),
            (Some("-1"), _) => Some(-1),
            (Some(text), None | Some(-1)) => {
                return Err(refused(
                    "--memory-swap",
                    text,
                    "it limits memory and swap together, so --memory is required",
                ));
            }
            // In docker, 0 stands for the default.
            (Some("0"), Some(limit)) => Some(limit.saturating_mul(2)),
            (Some(text), Some(limit)) => {
                let swap = bytes("--memory-swap", text)?;
                if swap < limit {
                    return Err(refused(
                        "--memory-swap",
                        text,
                        "it limits memory and swap together, so it cannot be below --memory",
                    ));
                }
                Some(swap)
            }
        };
        let reservation = self
            .memory_reservation
            .as_deref()
            .map(|text| bytes("--memory-reservation", text))
            .transpose()?;
        if let (Some(reservation), Some(limit), Some(text)) =
            (reservation, limit, &self.memory_reservation)
            && limit >= 0
            && reservation > limit
        {
            return Err(refused(
                "--memory-reservation",
                text,
                "it cannot be above --memory",
            ));
        }
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(limit)
            .set_swap(swap)
            .set_reservation(reservation);
        Ok((memory != LinuxMemory::default()).then_some(memory))
    }

    fn least(&self, text: &str) -> Result<i64, Failure> {
        let limit = bytes("--memory", text)?;
        match limit >= MIN_MEMORY as i64 {
            true => Ok(limit),
            false => Err(refused("--memory", text, "a container needs at least 6m")),
        }
    }

    fn cpu(&self) -> Result<Option<LinuxCpu>, Failure> {
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(self.cpu_quota).set_period(self.cpu_period);
        if let Some(text) = &self.cpus {
            cpu.set_quota(Some(quota(text)?)).set_period(Some(PERIOD));
        }
        cpu.set_shares(self.cpu_weight.map(shares_of_weight).or(self.cpu_shares))
            .set_cpus(
                self.cpuset_cpus
                    .as_deref()
                    .map(|text| list("--cpuset-cpus", text))
                    .transpose()?,
            )
            .set_mems(
                self.cpuset_mems
                    .as_deref()
                    .map(|text| list("--cpuset-mems", text))
                    .transpose()?,
            );
        Ok((cpu != LinuxCpu::default()).then_some(cpu))
    }

    fn block_io(&self) -> Result<Option<LinuxBlockIo>, Failure> {
        let mut block = LinuxBlockIo::default();
        block
            .set_weight(self.blkio_weight)
            .set_throttle_read_bps_device(rates("--device-read-bps", &self.device_read_bps)?)
            .set_throttle_write_bps_device(rates("--device-write-bps", &self.device_write_bps)?)
            .set_throttle_read_iops_device(rates("--device-read-iops", &self.device_read_iops)?)
            .set_throttle_write_iops_device(rates("--device-write-iops", &self.device_write_iops)?);
        Ok((block != LinuxBlockIo::default()).then_some(block))
    }
}

/// A size as docker's flags take it, in the largest unit that is exact: `64m`.
pub fn flag_size(bytes: u64) -> String {
    let units = [(30, "g"), (20, "m"), (10, "k")];
    let exact = units
        .iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    exact.map_or(format!("{bytes}b"), |(shift, unit)| {
        format!("{}{unit}", bytes >> shift)
    })
}

fn bytes(flag: &str, text: &str) -> Result<i64, Failure> {
    i64::try_from(options::bytes(flag, text)?).map_err(|_| refused(flag, text, "it is too large"))
}

/// `1.5` CPUs as microseconds per period. The kernel's minimum is 1 ms.
fn quota(text: &str) -> Result<i64, Failure> {
    let bad = || {
        refused(
            "--cpus",
            text,
            "expected a number such as 2 or 0.5, at least 0.01",
        )
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    let cpus: f64 = text.parse().map_err(|_| bad())?;
    let quota = (cpus * PERIOD as f64).round();
    match (1000.0..1e12).contains(&quota) {
        true => Ok(quota as i64),
        false => Err(bad()),
    }
}

/// Numbers and ranges in the kernel's list format, cpuset(7).
fn list(flag: &str, text: &str) -> Result<String, Failure> {
    let range = |part: &str| match part.split_once('-') {
        None => part.parse::<u32>().is_ok(),
        Some((first, last)) => match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => first <= last,
            _ => false,
        },
    };
    match text.split(',').all(range) {
        true => Ok(text.to_owned()),
        false => Err(refused(
            flag,
            text,
            "expected numbers and ranges such as 0-2,5",
        )),
    }
}

fn rates(flag: &str, texts: &[String]) -> Result<Option<Vec<LinuxThrottleDevice>>, Failure> {
    let devices = texts
        .iter()
        .map(|text| rate(flag, text))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!devices.is_empty()).then_some(devices))
}

/// `DEVICE:RATE`.
fn rate(flag: &str, text: &str) -> Result<LinuxThrottleDevice, Failure> {
    let (path, rate) = text.rsplit_once(':').ok_or_else(|| {
        refused(
            flag,
            text,
            "expected a device and a rate such as /dev/sda:1m",
        )
    })?;
    let rate = options::bytes(flag, rate)?;
    let metadata = std::fs::metadata(path)
        .map_err(|error| Failure::new(format!("{flag} {path}: {}", cause(&error))))?;
    if !metadata.file_type().is_block_device() {
        return Err(refused(flag, text, "it is not a block device"));
    }
    let number = metadata.rdev();
    LinuxThrottleDeviceBuilder::default()
        .major(i64::from(rustix::fs::major(number)))
        .minor(i64::from(rustix::fs::minor(number)))
        .rate(rate)
        .build()
        .map_err(|error| refused(flag, text, &error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn read(line: &str) -> Result<String, String> {
        let words = std::iter::once("box").chain(line.split_ascii_whitespace());
        let line =
            <Line as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
        let resources = line
            .limits
            .resources()
            .map_err(|failure| failure.message().to_owned())?;
        Ok(serde_json::to_string(&resources).unwrap())
    }

    #[test]
    fn flags_become_resources() {
        for (line, json) in [
            ("", "null"),
            (
                "-m 64m",
                r#"{"memory":{"limit":67108864,"swap":134217728}}"#,
            ),
            (
                "--memory 1.5g --memory-swap -1",
                r#"{"memory":{"limit":1610612736,"swap":-1}}"#,
            ),
            (
                "--memory 64m --memory-swap 64m",
                r#"{"memory":{"limit":67108864,"swap":67108864}}"#,
            ),
            ("--memory -1", r#"{"memory":{"limit":-1,"swap":-1}}"#),
            (
                "--memory-reservation 32m",
                r#"{"memory":{"reservation":33554432}}"#,
            ),
            ("--cpus 1.5", r#"{"cpu":{"quota":150000,"period":100000}}"#),
            ("--cpus .5", r#"{"cpu":{"quota":50000,"period":100000}}"#),
            ("--cpu-weight 100", r#"{"cpu":{"shares":1024}}"#),
            (
                "--cpu-shares 512 --cpuset-cpus 0-1,3",
                r#"{"cpu":{"shares":512,"cpus":"0-1,3"}}"#,
            ),
            ("--pids-limit -1", r#"{"pids":{"limit":-1}}"#),
            ("--blkio-weight 300", r#"{"blockIO":{"weight":300}}"#),
        ] {
            assert_eq!(read(line).unwrap(), json, "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_flag() {
        for (line, word) in [
            ("--memory 1m", "6m"),
            ("--memory much", "--memory"),
            ("--memory 99999999t", "--memory"),
            ("--memory-swap 64m", "--memory"),
            ("--memory 64m --memory-swap 32m", "--memory-swap"),
            (
                "--memory 64m --memory-reservation 65m",
                "--memory-reservation",
            ),
            ("--cpus 0", "--cpus"),
            ("--cpus=-1", "--cpus"),
            ("--cpus nan", "--cpus"),
            ("--cpus 1e3", "--cpus"),
            ("--cpus 1 --cpu-quota 5", "--cpu-quota"),
            ("--cpu-shares 5 --cpu-weight 5", "--cpu-weight"),
            ("--cpuset-cpus 3-1", "--cpuset-cpus"),
            ("--cpuset-cpus 0,", "--cpuset-cpus"),
            ("--blkio-weight 5", "--blkio-weight"),
            ("--pids-limit -2", "--pids-limit"),
            ("--device-read-bps /dev/null:1m", "not a block device"),
            ("--device-read-bps /dev/null", "--device-read-bps"),
        ] {
            let message = read(line).unwrap_err();
            assert!(message.contains(word), "{line}: {message}");
        }
    }

    #[test]
    fn sizes_are_printed_as_flags_take_them() {
        assert_eq!(flag_size(64 << 20), "64m");
        assert_eq!(flag_size(1536 << 20), "1536m");
        assert_eq!(flag_size(2 << 30), "2g");
        assert_eq!(flag_size(1000), "1000b");
    }
}
