//! The processes of a container, and the resources made for them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::Error;
use crate::cgroup::{self, Cgroup, Join};
use crate::channel::{Channel, Order};
use crate::hooks::Hooks;
use crate::plan::Plan;
use crate::privileges::capabilities::Capability;
use crate::process::lifecycle::Lifecycle;
use crate::sealed::Sealed;
use crate::signals::Forwarding;
use crate::sys::process::{self as sys, Exit};

/// The processes of a container and everything made for them. On drop the processes are killed and the rest is removed.
#[derive(Debug)]
pub(super) struct Container<L> {
    pub child: Child,
    pub terminal: Option<OwnedFd>,
    pub hooks: Hooks,
    pub cgroup: Option<Cgroup>,
    // Dropped after the child and its group: a lock in it states that these exist.
    pub lifecycle: L,
    // Dropped last: signals that arrived meanwhile act on box from then on.
    pub signals: Forwarding,
}

/// The first process. On drop it is killed, and with it every process of its pid namespace.
#[derive(Debug)]
pub(super) struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub reaped: bool,
}

pub(super) fn create_cgroup(lifecycle: &mut impl Lifecycle, plan: &Plan) -> Result<Cgroup, Error> {
    let place = cgroup::Place::of(&plan.cgroup)?;
    lifecycle
        .before_cgroup(place.path())
        .map_err(Error::Caller)?;
    let request = cgroup::Request {
        place: &place,
        resources: &plan.resources,
        pids_by_default: plan.options.pids_by_default,
        // Root in a user namespace cannot make device nodes.
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

pub(super) fn order_failed(errno: Errno) -> Error {
    Error::system("send an order to the container's first process", errno)
}

impl<L> Container<L> {
    /// Sends the child the files by which it enters its group, and the sealed program that it will execute.
    pub fn place(&self, channel: &Channel, sealed: &Sealed) -> Result<(), Error> {
        let mut files = sealed.files().to_vec();
        let join = self.cgroup.as_ref().map_or(Ok(Join::None), Cgroup::join)?;
        if let Join::Write(groups) = &join {
            files.extend(groups.iter().map(AsFd::as_fd));
        }
        channel.order(Order::Placed, &files).map_err(order_failed)
    }
}

impl Child {
    /// Leaves the process to itself: it is not killed on drop, and not waited for.
    pub fn release(&mut self) {
        self.reaped = true;
    }

    pub fn has_ended(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    pub fn wait(&mut self) -> Result<Exit, Error> {
        let exit = sys::wait(self.pidfd.as_fd())
            .map_err(|errno| Error::system("wait for the container", errno))?;
        self.reaped = true;
        Ok(exit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // It may already have ended. Either way it is reaped, and everything in its pid namespace ends with it.
            let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(self.pidfd.as_fd());
        }
    }
}
