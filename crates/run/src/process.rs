//! The parent's side of a container: clone, handshake, wait.

mod descent;
mod guard;
mod monitor;
mod wait;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::capabilities::Capability;
use crate::cgroup::{self, Cgroup, Join};
use crate::channel::{self, Channel, Message, Order};
use crate::hooks::{Hooks, Point};
use crate::progress::Progress;
use crate::sealed::Sealed;
use crate::signals::Forwarding;
use crate::sys::process::{self as sys, Cloned, Exit};
use crate::{Error, ExitStatus, Instance, Plan, init};
pub use monitor::detach;
pub(crate) use monitor::{DETACHED, KEYS, LONGEST, SIZE, connect};
pub(crate) use wait::{QUIET_AFTER, Watch, Watched};

/// A container that is set up and waits to be let go. Dropped, it is killed.
#[derive(Debug)]
pub struct Prepared {
    container: Container,
    plan: Plan,
    channel: Channel,
    progress: Progress,
}

/// A container whose command runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    container: Container,
    timeout: Option<Duration>,
    kill_after: Option<Duration>,
    /// Ask the control group, too, what was used; nobody waits for that when the instance goes at once.
    measure: bool,
    started: Instant,
}

/// The processes and all that was made for them. Dropped, they are killed, and it goes.
#[derive(Debug)]
struct Container {
    child: Child,
    terminal: Option<OwnedFd>,
    hooks: Hooks,
    cgroup: Option<Cgroup>,
    // After the child and its group: who takes this lock next must find nothing.
    instance: Instance,
    // Last: signals that came meanwhile act on box now.
    signals: Forwarding,
}

/// The first process. Dropped, it is killed, and with it its pid namespace.
#[derive(Debug)]
struct Child {
    pid: i32,
    pidfd: OwnedFd,
    reaped: bool,
}

/// How a container ended, the content of `--report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// What the command left.
    pub status: ExitStatus,
    /// Why.
    pub reason: Reason,
    /// What box exits with: the status' code, or 124 after a timeout.
    pub code: u8,
    /// From the start of the command to its end.
    pub wall: Duration,
    /// User and system time of all its processes.
    pub cpu: Duration,
    /// The most memory it used at one time, in bytes.
    pub peak_memory: Option<u64>,
    /// Seconds since the epoch.
    pub finished: u64,
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The command called exit.
    Exited,
    /// A signal ended it.
    Signaled,
    /// It was killed for want of memory.
    Oom,
    /// `--timeout` ended it.
    Timeout,
}

/// Makes the container ready: its first process is set up and waits just before the command.
pub fn prepare(instance: Instance, mut plan: Plan) -> Result<Prepared, Error> {
    plan.gated = true;
    let mut prepared = begin(instance, plan)?;
    prepared.await_ready()?;
    Ok(prepared)
}

/// [`prepare`] and [`Prepared::start`] in one, without the round trip between them.
pub fn launch(instance: Instance, plan: Plan) -> Result<Running, Error> {
    let begun = begin(instance, plan)?;
    // The child has more to do than we.
    let container = &begun.container;
    container
        .instance
        .tidy_up_for_the_next(&|| !container.child.has_ended());
    begun.start()
}

fn begin(mut instance: Instance, mut plan: Plan) -> Result<Prepared, Error> {
    instance.hold()?;
    plan.open()?;
    let signals =
        Forwarding::to_container().map_err(|errno| Error::system("block signals", errno))?;
    let (channel, theirs) =
        channel::pair().map_err(|errno| Error::system("make a socket pair", errno))?;
    let progress =
        Progress::new().map_err(|errno| Error::system("map memory for the start", errno))?;
    // On v2 the child is born in its group. On v1 it gets in by itself, and the group is made while it sets up.
    let mut group = if is_unified() {
        Some(create_cgroup(&instance, &plan)?)
    } else {
        None
    };
    let join = group.as_ref().map_or(Ok(Join::None), Cgroup::join)?;
    let cloned = sys::clone3(plan.namespaces.clone, join.clone_descriptor());
    let (pid, pidfd) = match cloned
        .map_err(|errno| Error::system("clone the container's first process", errno))?
    {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            drop(channel);
            init::run(&plan, theirs, &progress)
        }
    };
    drop(theirs);
    let child = Child {
        pid,
        pidfd,
        reaped: false,
    };
    let mut container = Container {
        child,
        terminal: None,
        hooks: std::mem::take(&mut plan.hooks),
        cgroup: group.take(),
        instance,
        signals,
    };
    if plan.sends_root() {
        let root = plan.mount_root()?;
        let files: Vec<BorrowedFd<'_>> = root.iter().map(AsFd::as_fd).collect();
        channel.order(Order::Root, &files).map_err(told)?;
    }
    if container.cgroup.is_none() {
        container.cgroup = Some(create_cgroup(&container.instance, &plan)?);
    }
    if let Some(idmap) = &plan.idmap {
        idmap.write(pid)?;
    }
    let hooks = &container.hooks;
    hooks
        .run(Point::CreateRuntime, pid)
        .map_err(|failure| hooks.error(failure))?;
    let sealed = init::seal(&plan, hooks, pid)?;
    container.place(&channel, &sealed)?;
    drop(sealed);
    let group = container
        .cgroup
        .as_ref()
        .map_or(&*plan.cgroup, Cgroup::path);
    container.instance.started(pid, group)?;
    Ok(Prepared {
        container,
        plan,
        channel,
        progress,
    })
}

fn create_cgroup(instance: &Instance, plan: &Plan) -> Result<Cgroup, Error> {
    let place = cgroup::Place::of(&plan.cgroup)?;
    instance.note_group(place.path())?;
    let request = cgroup::Request {
        place: &place,
        resources: &plan.resources,
        pids_by_default: plan.options.pids_by_default,
        // Root of a user namespace can make no nodes.
        confine_devices: plan.idmap.is_none()
            && plan.capabilities.bounding.contains(Capability::MKNOD),
        count_cpu: plan.options.measure,
    };
    let group = Cgroup::create(&request)?;
    if let Some(warning) = group.warning() {
        tracing::warn!("{warning}");
    }
    Ok(group)
}

fn told(errno: rustix::io::Errno) -> Error {
    Error::system("tell the container's first process to go on", errno)
}

/// Whether all controllers are on v2.
fn is_unified() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs(c"/sys/fs/cgroup")
        .is_ok_and(|found| found.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

impl Container {
    /// Lets the child into its group, and on, with what it is to hand over to.
    fn place(&self, channel: &Channel, sealed: &Sealed) -> Result<(), Error> {
        let mut files = sealed.files().to_vec();
        let join = self.cgroup.as_ref().map_or(Ok(Join::None), Cgroup::join)?;
        if let Join::Write(groups) = &join {
            files.extend(groups.iter().map(AsFd::as_fd));
        }
        channel.order(Order::Placed, &files).map_err(told)
    }
}

impl Prepared {
    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.container.instance
    }

    /// The first process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.container.child.pid
    }

    /// Lets the command go; returns when it was executed, or could not be.
    pub fn start(mut self) -> Result<Running, Error> {
        if self.plan.gated {
            self.channel.order(Order::Go, &[]).map_err(told)?;
        }
        while let Some(message) = self.receive()? {
            self.take(message)?;
        }
        // End of file: executed, or killed before it could say a word.
        self.check_executed()?;
        self.container.hooks.run_all(Point::Poststart, self.pid());
        let options = &self.plan.options;
        Ok(Running {
            timeout: options.timeout,
            kill_after: options.kill_after,
            measure: options.measure || !self.container.instance.record().remove,
            container: self.container,
            started: Instant::now(),
        })
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        while let Some(message) = self.receive()? {
            if let Message::Ready(None) = message {
                return Ok(());
            }
            self.take(message)?;
        }
        self.check_executed()?;
        // It did not wait for us, which only a process that executed something else could do.
        Err(Error::system(
            "prepare the command",
            rustix::io::Errno::PROTO,
        ))
    }

    /// The child has closed its end of the line. An error if it did so by dying on the way.
    fn check_executed(&mut self) -> Result<(), Error> {
        let Some((step, index)) = self.progress.step() else {
            return Ok(());
        };
        let status = self.container.child.wait()?.status;
        let group = self.container.cgroup.as_ref();
        let starved = group.is_some_and(|group| group.oom_kills().is_ok_and(|kills| kills > 0));
        Err(Error::Died {
            step: self.plan.describe(step, index),
            status,
            hint: starved.then(|| "its memory limit is less than a start needs".to_owned()),
        })
    }

    fn receive(&self) -> Result<Option<Message>, Error> {
        self.channel
            .receive()
            .map_err(|errno| Error::system("hear from the container's first process", errno))
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Ready(terminal) => {
                self.container.terminal = terminal.or(self.container.terminal.take());
                Ok(())
            }
            Message::Hook(failure) => Err(self.container.hooks.error(failure)),
            refused => Err(self.plan.refusal(refused)),
        }
    }
}

impl Running {
    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.container.instance
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

    /// Reaps the first process, which must have ended, records how and cleans up. `forced` is the signal for which box
    /// killed the container itself; it counts as the one that ended it. `timed_out` says that `--timeout` did.
    pub fn finish(mut self, forced: Option<i32>, timed_out: bool) -> Result<Ended, Error> {
        let exit = self.container.child.wait()?;
        let wall = self.started.elapsed();
        let status = match (forced, exit.status) {
            (Some(signal), ExitStatus::Signaled(9)) => ExitStatus::Signaled(signal as u8),
            (_, status) => status,
        };
        let group = self.container.cgroup.take();
        // A shell as the first process tells of its child's death by the same number.
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
            // The kernel adds to the parent's count only children that were waited for.
            cpu: exit
                .cpu
                .max(Duration::from_nanos(used.cpu_nanoseconds.unwrap_or(0))),
            peak_memory: used.memory_peak.or(Some(exit.peak_resident)),
            finished: now(),
        };
        if let Some(group) = group {
            group.remove()?;
        }
        self.container.instance.ended(&ended)?;
        self.container.hooks.run_all(Point::Poststop, 0);
        Ok(ended)
    }
}

/// The exit status for a death by SIGKILL.
const KILLED: u8 = 128 + 9;

/// What timeout(1) exits with.
const TIMED_OUT: u8 = 124;

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Child {
    fn has_ended(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn wait(&mut self) -> Result<Exit, Error> {
        let exit = sys::wait(self.pidfd.as_fd())
            .map_err(|errno| Error::system("wait for the container", errno))?;
        self.reaped = true;
        Ok(exit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // It may have ended by itself; either way it is reaped, and everything in its pid namespace is gone.
            let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(self.pidfd.as_fd());
        }
    }
}
