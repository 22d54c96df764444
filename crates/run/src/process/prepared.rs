//! A start, up to the moment that the command runs.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::container::{Child, Container, create_cgroup, order_failed};
use super::lifecycle::Lifecycle;
use super::running::Running;
use crate::cgroup::{Cgroup, Join};
use crate::channel::progress::Progress;
use crate::channel::{self, Channel, Message, Order};
use crate::hooks::Point;
use crate::signals::Forwarding;
use crate::sys::process::{self as sys, Cloned};
use crate::{Error, Plan, init};

/// A container that is set up and waits to run its command. It is killed on drop.
#[derive(Debug)]
pub struct Prepared<L> {
    container: Container<L>,
    plan: Plan,
    channel: Channel,
    progress: Progress,
}

/// Sets the container up. Its first process then waits just before it executes the command.
pub fn prepare<L: Lifecycle>(lifecycle: L, mut plan: Plan) -> Result<Prepared<L>, Error> {
    plan.gated = true;
    let mut prepared = begin(lifecycle, plan)?;
    prepared.await_ready()?;
    Ok(prepared)
}

/// [`prepare`] and [`Prepared::start`] in one, without the round trip between them.
pub fn launch<L: Lifecycle>(lifecycle: L, plan: Plan) -> Result<Running<L>, Error> {
    let begun = begin(lifecycle, plan)?;
    // The child has more to do than the parent.
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
    // On v2 the child starts in its group. On v1 it enters the group itself, and the parent makes the group during the child's
    // set-up.
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

impl<L: Lifecycle> Prepared<L> {
    /// Does the parent's part of the set-up while the child does its own.
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
            channel.order(Order::Root, &files).map_err(order_failed)?;
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

    /// The caller's callbacks.
    pub fn lifecycle(&self) -> &L {
        &self.container.lifecycle
    }

    /// The first process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.container.child.pid
    }

    /// Runs the command. Returns once it was executed, or could not be.
    pub fn start(mut self) -> Result<Running<L>, Error> {
        if self.plan.gated {
            self.channel.order(Order::Go, &[]).map_err(order_failed)?;
        }
        while let Some(message) = self.receive()? {
            self.take(message)?;
        }
        // At end of file the command was executed, or the child was killed before it could report.
        self.check_executed()?;
        self.container.hooks.run_all(Point::Poststart, self.pid());
        Ok(Running::new(self.container, &self.plan.options))
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        while let Some(message) = self.receive()? {
            if let Message::Ready(None) = message {
                return Ok(());
            }
            self.take(message)?;
        }
        self.check_executed()?;
        // The child did not wait for the parent, which only happens if it executed another program.
        Err(Error::system("prepare the command", Errno::PROTO))
    }

    /// The child has closed its end of the channel: an error unless it got as far as executing the command.
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
            hint: starved.then(|| "its memory limit is lower than a start needs".to_owned()),
        })
    }

    fn receive(&self) -> Result<Option<Message>, Error> {
        self.channel
            .receive()
            .map_err(|errno| Error::system("receive from the container's first process", errno))
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
