//! A running container, as seen by processes other than its supervisor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use box_host::process::{self, SignalSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Container;
use crate::Error;
use crate::container::state::{RunDir, State, Status};
use box_run::cgroup::Cgroup;
use box_run::signals::{ask_to_end, would_be_lost, would_end_others};
use box_run::sys::process as sys;

/// A running container and its supervisor, both held by pidfds, so that a recycled pid is never mistaken for them.
#[derive(Debug)]
pub struct Live {
    name: String,
    pid: i32,
    pidfd: OwnedFd,
    monitor: OwnedFd,
    cgroup: Option<PathBuf>,
}

/// How long a killed container and its supervisor may take to end. After that the supervisor is killed too.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

impl Container {
    /// The running container; an error if it is not running.
    pub fn live(&self) -> Result<Live, Error> {
        let stopped = || -> Result<Live, Error> {
            // Read again, as the container may have ended since.
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

    /// If its init process has just ended: waits until the supervisor has recorded that.
    fn settle(&self) -> Result<(), Error> {
        let Some(state) = State::read(self.all.run(), &self.name)? else {
            return Ok(());
        };
        if state.is_alive() || !RunDir::is_held(self.all.run(), &self.name)? {
            return Ok(());
        }
        if let Some(monitor) = open(state.monitor)? {
            await_end(&monitor, Some(KILL_TIMEOUT), &self.name)?;
        }
        Ok(())
    }
}

impl Live {
    /// The running container with this name, whatever its record says.
    pub(super) fn find(run: &Path, name: &str) -> Result<Option<Self>, Error> {
        let Some(state) = State::read(run, name)? else {
            return Ok(None);
        };
        let (Some(pidfd), Some(monitor)) = (open(state.pid)?, open(state.monitor)?) else {
            return Ok(None);
        };
        // The lock is still held and the state is the same, so both pids meant these processes when they were opened.
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

    /// The init process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A pidfd of the init process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A pidfd of the supervisor: readable when it has recorded the end and cleaned up.
    pub fn monitor(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Its control group.
    pub fn cgroup(&self) -> Result<Option<Cgroup>, Error> {
        Ok(self.cgroup.as_deref().map(Cgroup::open).transpose()?)
    }

    /// Sends a signal to the init process. A signal that would end other processes but that PID 1 ignores (see [`would_be_lost`]) ends
    /// the container all the same.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        // The supervisor ends the container and records the signal as the reason.
        let target = if would_be_lost(self.pid, signal) {
            &self.monitor
        } else {
            &self.pidfd
        };
        self.send(target, signal)
    }

    /// Sends `signal`, waits for `grace` and then kills the container; at once if the init process does not handle the signal. Returns
    /// when its end is recorded.
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
            if self.wait(Some(KILL_TIMEOUT))? {
                return Ok(());
            }
        }
        self.kill()
    }

    /// Kills all its processes. Returns when its end is recorded, or its supervisor is gone.
    pub fn kill(&self) -> Result<(), Error> {
        self.send(&self.pidfd, libc::SIGKILL)?;
        // A frozen process dies when it is thawed.
        if self.is_frozen()? {
            self.thaw()?;
        }
        if self.wait(Some(KILL_TIMEOUT))? {
            return Ok(());
        }
        if let Some(cgroup) = self.cgroup()? {
            cgroup.kill()?;
        }
        self.send(&self.monitor, libc::SIGKILL)?;
        match self.wait(Some(KILL_TIMEOUT))? {
            true => Ok(()),
            false => Err(Error::Busy {
                name: self.name.clone(),
            }),
        }
    }

    /// Waits until its end is recorded; false if the time is over before.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, Error> {
        await_end(&self.monitor, timeout, &self.name)
    }

    fn thaw(&self) -> Result<(), Error> {
        if let Some(cgroup) = self.cgroup()? {
            cgroup.thaw()?;
        }
        Ok(())
    }

    /// Whether its init process has begun to exit: it has no root directory any more, and the supervisor is about to record the end.
    pub fn is_ending(&self) -> bool {
        std::fs::read_link(format!("/proc/{}/root", self.pid)).is_err()
    }

    /// Whether it is paused.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        // A control group that is being removed is not frozen.
        Ok(self
            .cgroup()?
            .is_some_and(|cgroup| cgroup.exists() && cgroup.is_frozen().unwrap_or(false)))
    }

    fn send(&self, target: &OwnedFd, signal: i32) -> Result<(), Error> {
        self.sent(sys::send_signal(target.as_fd(), signal), signal)
    }

    /// Does nothing if the process has ended.
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

/// Whether the process handles a signal, or blocks it to read it with sigwait(3) or signalfd(2).
fn reacts(pid: i32, signal: i32) -> bool {
    if signal == libc::SIGKILL || signal == libc::SIGSTOP {
        return false;
    }
    let status = process::Status::of(pid).unwrap_or_else(|_| process::Status::new(""));
    let has = |set| status.has_signal(set, signal);
    // The kernel's default action ends a process that is not PID 1 of its namespace.
    let first = status.innermost_pid() == Some(1);
    has(SignalSet::Caught) || has(SignalSet::Blocked) || (!first && !has(SignalSet::Ignored))
}

/// Waits for the end of a supervisor; false if the time is over before.
fn await_end(monitor: &OwnedFd, timeout: Option<Duration>, name: &str) -> Result<bool, Error> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
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
    /// Whether the container has processes.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }
}
