//! The parent's side of a container: clone, handshake, wait.

mod descent;
mod ended;
pub mod exec;
mod foreground;
mod guard;
mod lifecycle;
mod running;
mod supervise;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cgroup::{self, Cgroup, Join};
use crate::channel::progress::Progress;
use crate::channel::{self, Channel, Message, Order};
use crate::hooks::{Hooks, Point};
use crate::privileges::capabilities::Capability;
use crate::sealed::Sealed;
use crate::signals::Forwarding;
use crate::sys::process::{self as sys, Cloned, Exit};
use crate::{Error, Plan, init};
pub use ended::{Ended, Reason};
pub use lifecycle::Lifecycle;
pub use running::Running;
pub use supervise::Streams;

/// A container that is set up and waits to be let go. Dropped, it is killed.
#[derive(Debug)]
pub struct Prepared<L> {
    container: Container<L>,
    plan: Plan,
    channel: Channel,
    progress: Progress,
}

/// The processes and all that was made for them. Dropped, they are killed, and it goes.
#[derive(Debug)]
struct Container<L> {
    child: Child,
    terminal: Option<OwnedFd>,
    hooks: Hooks,
    cgroup: Option<Cgroup>,
    // After the child and its group: a lock in it says that these are there.
    lifecycle: L,
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

/// Makes the container ready: its first process is set up and waits just before the command.
pub fn prepare<L: Lifecycle>(lifecycle: L, mut plan: Plan) -> Result<Prepared<L>, Error> {
    plan.gated = true;
    let mut prepared = begin(lifecycle, plan)?;
    prepared.await_ready()?;
    Ok(prepared)
}

/// [`prepare`] and [`Prepared::start`] in one, without the round trip between them.
pub fn launch<L: Lifecycle>(lifecycle: L, plan: Plan) -> Result<Running<L>, Error> {
    let begun = begin(lifecycle, plan)?;
    // The child has more to do than we.
    let container = &begun.container;
    container
        .lifecycle
        .while_idle(&|| !container.child.has_ended());
    begun.start()
}

fn begin<L: Lifecycle>(mut lifecycle: L, mut plan: Plan) -> Result<Prepared<L>, Error> {
    plan.open()?;
    let signals =
        Forwarding::to_container().map_err(|errno| Error::system("block signals", errno))?;
    let (channel, theirs) =
        channel::pair().map_err(|errno| Error::system("make a socket pair", errno))?;
    let progress =
        Progress::new().map_err(|errno| Error::system("map memory for the start", errno))?;
    // On v2 the child is born in its group. On v1 it gets in by itself, and the group is made while it sets up.
    let mut group = None;
    if box_host::cgroup::is_unified() {
        group = Some(create_cgroup(&mut lifecycle, &plan)?);
    }
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
    let container = Container {
        child: Child {
            pid,
            pidfd,
            reaped: false,
        },
        terminal: None,
        hooks: std::mem::take(&mut plan.hooks),
        cgroup: group,
        lifecycle,
        signals,
    };
    let mut prepared = Prepared {
        container,
        plan,
        channel,
        progress,
    };
    prepared.set_up()?;
    Ok(prepared)
}

fn create_cgroup(lifecycle: &mut impl Lifecycle, plan: &Plan) -> Result<Cgroup, Error> {
    let place = cgroup::Place::of(&plan.cgroup)?;
    lifecycle
        .before_cgroup(place.path())
        .map_err(Error::Caller)?;
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

fn told(errno: Errno) -> Error {
    Error::system("tell the container's first process to go on", errno)
}

impl<L> Container<L> {
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

impl<L: Lifecycle> Prepared<L> {
    /// The parent's part of the set-up, while the child does its own.
    fn set_up(&mut self) -> Result<(), Error> {
        let Self {
            container,
            plan,
            channel,
            ..
        } = self;
        let pid = container.child.pid;
        if plan.root.is_sent() {
            let root = plan.mount_root()?;
            let files: Vec<BorrowedFd<'_>> = root.iter().map(AsFd::as_fd).collect();
            channel.order(Order::Root, &files).map_err(told)?;
        }
        if container.cgroup.is_none() {
            container.cgroup = Some(create_cgroup(&mut container.lifecycle, plan)?);
        }
        if let Some(idmap) = &plan.idmap {
            idmap.write(pid)?;
        }
        let hooks = &container.hooks;
        hooks
            .run(Point::CreateRuntime, pid)
            .map_err(|failure| hooks.error(failure))?;
        let sealed = init::seal(plan, hooks, pid)?;
        container.place(channel, &sealed)?;
        drop(sealed);
        let group = container
            .cgroup
            .as_ref()
            .map_or(&*plan.cgroup, Cgroup::path);
        container
            .lifecycle
            .created(pid, group)
            .map_err(Error::Caller)
    }

    /// The caller's.
    pub fn lifecycle(&self) -> &L {
        &self.container.lifecycle
    }

    /// The first process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.container.child.pid
    }

    /// Lets the command go; returns when it was executed, or could not be.
    pub fn start(mut self) -> Result<Running<L>, Error> {
        if self.plan.gated {
            self.channel.order(Order::Go, &[]).map_err(told)?;
        }
        while let Some(message) = self.receive()? {
            self.take(message)?;
        }
        // End of file: executed, or killed before it could say a word.
        self.check_executed()?;
        self.container.hooks.run_all(Point::Poststart, self.pid());
        Ok(Running::new(self))
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
        Err(Error::system("prepare the command", Errno::PROTO))
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
