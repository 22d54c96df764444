//! Signals to all processes of a group where the kernel has no file for that.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::directory::Directory;
use crate::Error;

/// Sends SIGKILL to every process of the group and of those below until none is left.
///
/// Each process is held by a descriptor before it is looked for in the group once more, so that a pid which
/// was given to another process in between is not signalled.
pub fn kill_one_by_one(directory: &Directory) -> Result<(), Error> {
    for wait in [0, 1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000] {
        sleep(Duration::from_millis(wait));
        let pids = directory.all_pids();
        if pids.is_empty() {
            return Ok(());
        }
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
                // Failing means that it has ended meanwhile.
                let _ended = pidfd_send_signal(&descriptor, Signal::KILL);
            }
        }
    }
    Err(Error::io(
        "end the processes of",
        directory.path(),
        rustix::io::Errno::BUSY,
    ))
}
