//! What a process of a container started, for where neither a control group nor a pid namespace holds just that: the processes
//! of its session, and the descendants of those.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use box_host::process::Stat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open, setrlimit};

use crate::sys::process as sys;

/// Looks through all processes, at most: somebody may let go on what was stopped, and it start others for ever.
const MOST_PASSES: usize = 1000;

/// Kills all processes of a session, and all that descend from one. The leader's number is not given to another process as long as
/// one of them is there.
pub(super) fn kill_session(leader: i32) -> Result<(), Errno> {
    // A descriptor for each of them.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
    let mut found: HashMap<i32, OwnedFd> = HashMap::new();
    for _ in 0..MOST_PASSES {
        let mut more = false;
        for entry in std::fs::read_dir("/proc").map_err(number)?.flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = pid.filter(|pid| !found.contains_key(pid)) else {
                continue;
            };
            let process = match belonging(pid, leader, &found) {
                // More than there are descriptors: these first.
                Err(Errno::MFILE | Errno::NFILE) => {
                    kill(&found);
                    found.clear();
                    more = true;
                    break;
                }
                process => process.ok().flatten(),
            };
            if let Some(process) = process {
                // One that is stopped starts no other, and its children keep their parent until all are found.
                sys::send_signal(process.as_fd(), libc::SIGSTOP).ok();
                found.insert(pid, process);
                more = true;
            }
        }
        if !more {
            break;
        }
    }
    kill(&found);
    Ok(())
}

/// Those that have gone by themselves are no failure.
fn kill(found: &HashMap<i32, OwnedFd>) {
    for process in found.values() {
        sys::send_signal(process.as_fd(), libc::SIGKILL).ok();
    }
}

/// The process of that number, if it is of the session or the child of one that was found.
fn belonging(
    pid: i32,
    leader: i32,
    found: &HashMap<i32, OwnedFd>,
) -> Result<Option<OwnedFd>, Errno> {
    let belongs = || {
        let Stat {
            parent, session, ..
        } = Stat::of(pid).ok()?;
        let child = found
            .get(&parent)
            // The number is that of another process by now if it does not take signals.
            .is_some_and(|parent| sys::send_signal(parent.as_fd(), 0).is_ok());
        (session == leader || child).then_some(())
    };
    let (Some(()), Some(number)) = (belongs(), Pid::from_raw(pid)) else {
        return Ok(None);
    };
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        process => process?,
    };
    // It was that process before and after it was opened.
    Ok(belongs().map(|()| process))
}

fn number(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
