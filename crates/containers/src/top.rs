//! The processes of a running container.

use std::collections::BTreeSet;

use box_host::process::{Stat, Status};
use serde::Serialize;

use crate::accounts::Accounts;
use crate::{Container, Error};

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Process {
    /// Its user by the container's passwd file, or the id.
    pub user: String,
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pid in the container.
    pub container_pid: i32,
    /// Its parent, in the caller's pid namespace.
    pub parent: i32,
    /// Its state, one letter; proc_pid_stat(5).
    pub state: char,
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// Seconds since the epoch.
    pub started: u64,
    /// Program and arguments.
    pub command: String,
}

impl Container {
    /// Its processes, sorted by their pid in the container.
    pub fn processes(&self) -> Result<Vec<Process>, Error> {
        let live = self.live()?;
        let spec = self.spec()?;
        let mounts = spec.mounts().as_deref().unwrap_or(&[]);
        let accounts = Accounts::users_of_root(self.open_root(&live)?, mounts)?;
        let ids = self.ids()?;
        let group = live.cgroup()?.filter(|group| group.exists());
        let pids: BTreeSet<i32> = match group {
            Some(group) => group.pids()?.into_iter().collect(),
            None => in_namespace_of(live.pid()),
        };
        let boot = boot_time();
        // A process that ends meanwhile is left out.
        let one = |pid: &i32| {
            let (process, uid) = read(*pid, boot)?;
            let uid = ids.inside(uid);
            Some(Process {
                user: accounts.name_of(uid).unwrap_or_else(|| uid.to_string()),
                ..process
            })
        };
        let mut processes: Vec<Process> = pids.iter().filter_map(one).collect();
        processes.sort_by_key(|process| process.container_pid);
        Ok(processes)
    }
}

/// All processes in the same pid namespace, for containers without a control group.
fn in_namespace_of(pid: i32) -> BTreeSet<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(pid);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| wanted.is_some() && namespace(*pid) == wanted)
        .collect()
}

fn read(pid: i32, boot: u64) -> Option<(Process, u32)> {
    let (stat, status) = (Stat::of(pid).ok()?, Status::of(pid).ok()?);
    let tick = rustix::param::clock_ticks_per_second();
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = match arguments.is_empty() {
        // Zombies and kernel threads have no command line.
        true => format!("[{}]", stat.name),
        false => String::from_utf8_lossy(&arguments)
            .trim_end_matches('\0')
            .replace('\0', " "),
    };
    let process = Process {
        user: String::new(),
        pid,
        container_pid: status.innermost_pid().unwrap_or(pid),
        parent: stat.parent,
        state: stat.state,
        cpu_seconds: stat.own_time.iter().sum::<u64>() as f64 / tick as f64,
        memory: status.resident_bytes().unwrap_or(0),
        started: boot + stat.start_time / tick,
        command,
    };
    Some((process, status.effective_uid()?))
}

/// Seconds since the epoch, proc_stat(5).
fn boot_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .find_map(|line| line.strip_prefix("btime ")?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_process() {
        let pid = std::process::id() as i32;
        let (process, uid) = read(pid, boot_time()).unwrap();
        assert_eq!(
            (process.pid, uid),
            (pid, rustix::process::geteuid().as_raw())
        );
        assert!(process.memory > 0 && process.command.contains("box_containers"));
        assert!(crate::container::now().abs_diff(process.started) < 3600);
        assert!(in_namespace_of(pid).contains(&pid));
    }
}
