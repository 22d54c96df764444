//! Kills all processes of a group on kernels without `cgroup.kill`.

use std::collections::HashSet;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::backoff::Backoff;
use super::directory::Directory;
use crate::Error;

/// Kills every process of the group and of groups below, until none is left.
///
/// Each process is opened as a pidfd and then looked up in the group again, so that a reused pid is not signalled.
pub fn kill_one_by_one(directory: &Directory) -> Result<(), Error> {
    let mut backoff = Backoff::new();
    loop {
        let pids = directory.all_pids();
        if pids.is_empty() {
            return Ok(());
        }
        if !backoff.wait(pids.len()) {
            let busy = rustix::io::Errno::BUSY;
            return Err(Error::io("end the processes of", directory.path(), busy));
        }
        let pids = directory.all_pids();
        let held: Vec<_> = pids
            .iter()
            .filter_map(|pid| {
                Some((
                    *pid,
                    pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()?,
                ))
            })
            .collect();
        let still_there: HashSet<i32> = directory.all_pids().into_iter().collect();
        for (pid, descriptor) in held {
            if still_there.contains(&pid) {
                // This fails only for a process that has ended.
                let _ended = pidfd_send_signal(&descriptor, Signal::KILL);
            }
        }
    }
}
