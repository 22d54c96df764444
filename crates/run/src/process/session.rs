//! Kills a process that joined a container and everything it started. No control group or pid namespace holds exactly these, so
//! they are found by session: its processes and their descendants.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use box_host::process::Stat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open, setrlimit};

use crate::sys::process as sys;

/// Limit of passes over all processes: someone may continue a stopped one, which could start others forever.
const MOST_PASSES: usize = 1000;

/// Kills all processes of a session and their descendants. The kernel does not reuse the leader's pid while one of them exists.
pub(super) fn kill_session(leader: i32) -> Result<(), Errno> {
    // Each process takes a descriptor.
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
                // There are more processes than descriptors: kill those found so far first.
                Err(Errno::MFILE | Errno::NFILE) => {
                    kill(&found);
                    found.clear();
                    more = true;
                    break;
                }
                process => process.ok().flatten(),
            };
            if let Some(process) = process {
                // A stopped process starts no others, and its children keep it as their parent until all are found.
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

/// A process that has already ended is not a failure.
fn kill(found: &HashMap<i32, OwnedFd>) {
    for process in found.values() {
        sys::send_signal(process.as_fd(), libc::SIGKILL).ok();
    }
}

/// Opens the process with this pid if it belongs to the session or is a child of a process that was found.
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
            // If the parent takes no signals it has ended, and its pid may belong to another process by now.
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
    // Checked before and after it was opened, so it is the same process.
    Ok(belongs().map(|()| process))
}

fn number(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
