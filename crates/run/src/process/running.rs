//! A container whose command runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::container::Container;
use super::ended::{Ended, Reason};
use super::foreground::Foreground;
use super::guard::Guard;
use super::lifecycle::Lifecycle;
use super::supervise::{Streams, Verdict};
use super::supervised::Supervised;
use crate::cgroup::Cgroup;
use crate::hooks::Point;
use crate::signals::Forwarding;
use crate::{Error, ExitStatus, Options};

/// A container whose command runs. It is killed on drop.
#[derive(Debug)]
pub struct Running<L> {
    container: Container<L>,
    timeout: Option<Duration>,
    kill_after: Option<Duration>,
    /// Also read the usage from the control group at the end.
    measure: bool,
    outlives_caller: bool,
    started: Instant,
}

impl<L: Lifecycle> Running<L> {
    pub(super) fn new(container: Container<L>, options: &Options) -> Self {
        Self {
            timeout: options.timeout,
            kill_after: options.kill_after,
            outlives_caller: options.outlives_caller,
            measure: options.measure || container.lifecycle.wants_usage(),
            container,
            started: Instant::now(),
        }
    }

    /// The caller's callbacks.
    pub fn lifecycle(&self) -> &L {
        &self.container.lifecycle
    }

    /// The first process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.container.child.pid
    }

    /// The first process, readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.container.child.pidfd.as_fd()
    }

    /// The master side of the command's terminal, if it has one.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.container.terminal.as_ref().map(AsFd::as_fd)
    }

    /// The signals that are for the container.
    pub fn signals(&self) -> &Forwarding {
        &self.container.signals
    }

    /// Its control group.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.container.cgroup.as_ref()
    }

    /// Waits for the end, forwards signals and the terminal's data meanwhile, and cleans up.
    pub fn wait(mut self) -> Result<Ended, Error> {
        let mut streams = Foreground::new(self.container.terminal.take()).map_err(not_seen)?;
        let verdict = self.supervised().wait(None, &mut streams);
        drop(streams);
        self.finish(&verdict.map_err(not_seen)?)
    }

    /// Like [`wait`](Self::wait), for a monitor: a guard is set up first, and the caller carries the standard streams itself. They
    /// are drained and dropped before the end is reported.
    pub fn supervise(self, mut streams: impl Streams) -> Result<Ended, Error> {
        let guard = Guard::stand(&self.supervised())
            .map_err(|errno| Error::system("start the process that guards the container", errno))?;
        let verdict = self.supervised().wait(Some(guard), &mut streams);
        drop(streams);
        self.finish(&verdict.map_err(not_seen)?)
    }

    /// Takes the master side of the command's terminal, to carry its data.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.container.terminal.take()
    }

    /// Leaves the container to itself, with its control group, and returns its first process. That process is reparented when this one
    /// ends; until then it has to be waited for, or it stays as a zombie.
    ///
    /// Fails unless [`Options::outlives_caller`] is set, as the container would die with this process; it is killed then.
    pub fn release(mut self) -> Result<i32, Error> {
        if !self.outlives_caller {
            let reason = "it was started to die with its caller";
            let reason = std::io::Error::other(reason);
            return Err(Error::system("release the container", reason));
        }
        self.container.child.release();
        if let Some(group) = &mut self.container.cgroup {
            group.keep();
        }
        Ok(self.pid())
    }

    fn supervised(&self) -> Supervised<'_> {
        Supervised {
            pid: self.pid(),
            pidfd: self.pidfd(),
            signals: &self.container.signals,
            group: self.cgroup(),
            deadline: self.timeout.map(|limit| self.started + limit),
            kill_after: self.kill_after,
        }
    }

    /// Reaps the first process, which has ended, and cleans up. If box killed the container in place of a signal that would have
    /// been lost, that signal counts as the one that ended it.
    fn finish(mut self, verdict: &Verdict) -> Result<Ended, Error> {
        let Verdict { forced, timed_out } = *verdict;
        let exit = self.container.child.wait()?;
        let wall = self.started.elapsed();
        let status = match (forced, exit.status) {
            (Some(signal), ExitStatus::Signaled(9)) => ExitStatus::Signaled(signal as u8),
            (_, status) => status,
        };
        let group = self.container.cgroup.take();
        // A shell as the first process reports its child's death by the same status.
        let oom = forced.is_none()
            && status.code() == KILLED
            && group
                .as_ref()
                .is_some_and(|group| group.oom_kills().is_ok_and(|kills| kills > 0));
        let used = group
            .as_ref()
            .filter(|_| self.measure || oom)
            .and_then(|group| group.stats().ok())
            .unwrap_or_default();
        let ended = Ended {
            status,
            reason: match status {
                _ if timed_out => Reason::Timeout,
                _ if oom => Reason::Oom,
                ExitStatus::Exited(_) => Reason::Exited,
                ExitStatus::Signaled(_) => Reason::Signaled,
            },
            code: if timed_out { TIMED_OUT } else { status.code() },
            wall,
            // The kernel counts only children that were waited for.
            cpu: exit
                .cpu
                .max(Duration::from_nanos(used.cpu_nanoseconds.unwrap_or(0))),
            peak_memory: used.memory_peak.or(Some(exit.peak_resident)),
            finished: now(),
        };
        if let Some(group) = group {
            group.remove()?;
        }
        self.container
            .lifecycle
            .ended(&ended)
            .map_err(Error::Caller)?;
        self.container.hooks.run_all(Point::Poststop, 0);
        Ok(ended)
    }
}

/// The exit status for a death by SIGKILL.
const KILLED: u8 = 128 + 9;

/// What timeout(1) exits with.
const TIMED_OUT: u8 = 124;

fn not_seen(errno: Errno) -> Error {
    Error::system("wait for the container", errno)
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
