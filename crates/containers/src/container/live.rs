//! What can be done to a container that runs, by processes other than the one that watches it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Container;
use crate::container::state::{RunDir, State, Status};
use crate::{Error, files};
use box_run::Ended;
use box_run::cgroup::Cgroup;
use box_run::signals::{ask_to_end, would_be_lost, would_end_others};
use box_run::sys::process as sys;

/// A running container and the process that watches it, both held by descriptors: a pid that is used again is not mistaken.
#[derive(Debug)]
pub struct Live {
    name: String,
    pid: i32,
    pidfd: OwnedFd,
    monitor: OwnedFd,
    cgroup: Option<PathBuf>,
}

/// How long a killed container and the process that watches it may take to end; then that process is killed, too.
const PATIENCE: Duration = Duration::from_secs(10);

impl Container {
    /// The running container; an error if it does not run.
    pub fn live(&self) -> Result<Live, Error> {
        let stopped = || -> Result<Live, Error> {
            // What is on disk now, as it may have ended since it was read.
            let status = self.all.get(&self.name)?.status()?;
            Err(Error::NotRunning {
                name: self.name.clone(),
                status: status.to_string(),
            })
        };
        match Live::find(self.all.run(), &self.name)? {
            Some(live) => Ok(live),
            None => {
                self.settle()?;
                stopped()
            }
        }
    }

    /// If its first process has just ended: waits until whoever watches it has recorded that.
    fn settle(&self) -> Result<(), Error> {
        let Some(state) = State::read(self.all.run(), &self.name)? else {
            return Ok(());
        };
        if state.is_alive() || !RunDir::is_held(self.all.run(), &self.name)? {
            return Ok(());
        }
        if let Some(monitor) = open(state.monitor)? {
            await_end(&monitor, Some(PATIENCE), &self.name)?;
        }
        Ok(())
    }

    /// What will tell how it ends, also if it is removed then. The container may have ended already.
    pub fn waiter(&self) -> Result<Waiter, Error> {
        let directory = self.state_directory().join(WAITERS);
        let note = if self.state_directory().exists() {
            files::create_private_dir(&directory)?;
            let path = directory.join(std::process::id().to_string());
            // The directory goes with the container, and may be going now.
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .ok()
        } else {
            None
        };
        Ok(Waiter { note })
    }
}

impl Live {
    /// The running container of this name, whatever is on disk about it.
    pub(super) fn find(run: &Path, name: &str) -> Result<Option<Self>, Error> {
        let Some(state) = State::read(run, name)? else {
            return Ok(None);
        };
        let (Some(pidfd), Some(monitor)) = (open(state.pid)?, open(state.monitor)?) else {
            return Ok(None);
        };
        // Held, and by whom the file says: so both numbers meant these processes when they were opened.
        let same = State::read(run, name)?.as_ref() == Some(&state);
        if !same || !RunDir::is_held(run, name)? || !state.is_alive() {
            return Ok(None);
        }
        Ok(Some(Self {
            name: name.to_owned(),
            pid: state.pid,
            pidfd,
            monitor,
            cgroup: state.cgroup,
        }))
    }

    /// The first process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The first process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The process that watches the container: readable when it has recorded the end and cleaned up.
    pub fn monitor(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Its control group.
    pub fn cgroup(&self) -> Result<Option<Cgroup>, Error> {
        Ok(self.cgroup.as_deref().map(Cgroup::open).transpose()?)
    }

    /// Sends a signal to the first process. One that it could not hear although it ends processes (see
    /// [`would_be_lost`]) ends the container all the same.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        // The one that watches knows how to end it, and records the signal as the reason.
        let target = if would_be_lost(self.pid, signal) {
            &self.monitor
        } else {
            &self.pidfd
        };
        self.send(target, signal)
    }

    /// Sends `signal` and waits for `grace`; then, or at once if nothing in the first process would react to the signal,
    /// kills the container. Returns when its end is recorded.
    pub fn stop(&self, signal: i32, grace: Option<Duration>) -> Result<(), Error> {
        let frozen = self.is_frozen()?;
        if reacts(self.pid, signal) {
            self.send(&self.pidfd, signal)?;
            if frozen {
                self.thaw()?;
            }
            if self.wait(grace)? {
                return Ok(());
            }
            return self.kill();
        }
        if would_end_others(self.pid, signal) {
            let asked = ask_to_end(self.monitor.as_fd(), signal);
            self.sent(asked, signal)?;
            if frozen {
                self.thaw()?;
            }
            if self.wait(Some(PATIENCE))? {
                return Ok(());
            }
        }
        self.kill()
    }

    /// Kills all its processes and returns when its end is recorded, or nobody is left to record it.
    pub fn kill(&self) -> Result<(), Error> {
        self.send(&self.pidfd, libc::SIGKILL)?;
        // A frozen process dies when it is thawed.
        if self.is_frozen()? {
            self.thaw()?;
        }
        if self.wait(Some(PATIENCE))? {
            return Ok(());
        }
        if let Some(cgroup) = self.cgroup()? {
            cgroup.kill()?;
        }
        self.send(&self.monitor, libc::SIGKILL)?;
        match self.wait(Some(PATIENCE))? {
            true => Ok(()),
            false => Err(Error::Busy {
                name: self.name.clone(),
            }),
        }
    }

    /// Waits until its end is recorded, for so long. False: it runs still.
    pub fn wait(&self, patience: Option<Duration>) -> Result<bool, Error> {
        await_end(&self.monitor, patience, &self.name)
    }

    fn thaw(&self) -> Result<(), Error> {
        if let Some(cgroup) = self.cgroup()? {
            cgroup.thaw()?;
        }
        Ok(())
    }

    /// Whether its first process has begun to end: it has no root directory any more, and whoever watches it is about to
    /// record the end.
    pub fn is_ending(&self) -> bool {
        std::fs::read_link(format!("/proc/{}/root", self.pid)).is_err()
    }

    /// Whether it is paused.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        // A group that goes this moment is not frozen.
        Ok(self
            .cgroup()?
            .is_some_and(|cgroup| cgroup.exists() && cgroup.is_frozen().unwrap_or(false)))
    }

    fn send(&self, target: &OwnedFd, signal: i32) -> Result<(), Error> {
        self.sent(sys::send_signal(target.as_fd(), signal), signal)
    }

    /// One that has ended meanwhile needs no signal.
    fn sent(&self, sent: Result<(), Errno>, signal: i32) -> Result<(), Error> {
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::system(
                format!("send signal {signal} to {}", self.name),
                errno,
            )),
        }
    }
}

/// Files in this directory below that of the state are for those who wait for the end of a container: the last thing that is
/// known of one that is removed by then.
const WAITERS: &str = "waiters";

/// Learns how a container ended.
#[derive(Debug)]
pub struct Waiter {
    note: Option<File>,
}

impl Waiter {
    /// What was written down, once the container has ended.
    pub fn ended(self) -> Result<Option<Ended>, Error> {
        let Some(mut note) = self.note else {
            return Ok(None);
        };
        let mut text = vec![];
        note.rewind()
            .and_then(|()| note.read_to_end(&mut text))
            .map_err(|error| Error::system("read how the container ended", error))?;
        // Empty: nobody saw it.
        Ok(serde_json::from_slice(&text).ok())
    }
}

/// Tells those who wait. None of them keeps the container from ending.
pub(super) fn tell_waiters(directory: &Path, ended: &Ended) {
    let Ok(entries) = std::fs::read_dir(directory.join(WAITERS)) else {
        return;
    };
    let Ok(text) = serde_json::to_vec(ended) else {
        return;
    };
    for entry in entries.flatten() {
        if let Ok(mut note) = File::options().write(true).open(entry.path()) {
            // A full disk: the waiter finds nothing, as if nobody had seen the end.
            note.write_all(&text).ok();
        }
    }
}

/// Whether the process has a handler for a signal, or waits for it in another way.
fn reacts(pid: i32, signal: i32) -> bool {
    if signal == libc::SIGKILL || signal == libc::SIGSTOP {
        return false;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let has = |name: &str| {
        let mask = field(name)
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .unwrap_or(0);
        mask >> (signal - 1) & 1 == 1
    };
    // Outside a pid namespace of its own the kernel's default action ends a process.
    let first =
        field("NSpid").and_then(|pids| pids.split_ascii_whitespace().next_back()) == Some("1");
    has("SigCgt") || has("SigBlk") || (!first && !has("SigIgn"))
}

/// Waits for the end of the process that watches a container. False: it runs still.
fn await_end(monitor: &OwnedFd, patience: Option<Duration>, name: &str) -> Result<bool, Error> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut files = [PollFd::new(monitor, PollFlags::IN)];
        match poll(&mut files, left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system(format!("wait for {name}"), errno)),
        }
    }
}

fn open(pid: i32) -> Result<Option<OwnedFd>, Error> {
    let Some(number) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(errno) => Err(Error::system(format!("open process {pid}"), errno)),
    }
}

impl Status {
    /// Whether processes of the container are there.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }
}
