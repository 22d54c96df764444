//! Enters the control group. In the child.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::channel::{Channel, Failed, Order, Step};
use crate::plan::Plan;
use crate::sealed::Sealed;
use crate::sys::process;

/// Waits for `Order::Placed`, which brings the sealed program and, on v1, the files by which this process enters its control group.
/// Only then is the cgroup namespace made, as its root is the group of that moment, cgroup_namespaces(7).
pub(super) fn wait_until_placed(
    plan: &Plan,
    channel: &Channel,
    placed: &mut Option<Sealed>,
) -> Result<(), Failed> {
    if placed.is_some() {
        return Ok(());
    }
    let mut sealed = vec![];
    let take = |file: OwnedFd| {
        if sealed.len() < 2 {
            sealed.push(file);
            return Ok(());
        }
        // A `tasks` file of the group, where 0 stands for the writer.
        rustix::io::write(&file, b"0").map(drop)
    };
    channel
        .await_order(Order::Placed, take)
        .map_err(Step::Handshake.failed(3))?;
    let (task, program) = (sealed.pop(), sealed.pop());
    let (program, task) = program
        .zip(task)
        .ok_or(Errno::PROTO)
        .map_err(Step::Handshake.failed(6))?;
    *placed = Some(Sealed::received(program, task));
    if plan.namespaces.cgroup {
        process::unshare(libc::CLONE_NEWCGROUP).map_err(Step::Unshare.failed(1))?;
    }
    Ok(())
}
