//! Mounts the root file system and changes to it. In the child.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use crate::channel::{Channel, Failed, Message, Order, Step};
use crate::hooks::Point;
use crate::plan::Plan;
use crate::sys::mount;

/// Mounts the root file system and opens it.
pub(super) fn rootfs(plan: &Plan, channel: &Channel) -> Result<OwnedFd, Failed> {
    mount::make_private().map_err(Step::Propagation.failed(0))?;
    let failed = |errno| Step::Rootfs.failed(0)(errno);
    let target = plan.root.target();
    if let Some(tree) = &plan.tree {
        // Root in a user namespace may lack the rights to reach a path of the host. The old root, which is about to be unmounted,
        // needs none.
        let place = if plan.idmap.is_some() { c"/" } else { target };
        attach(tree, place).map_err(failed)?;
        return rustix::io::fcntl_dupfd_cloexec(tree, 3).map_err(failed);
    }
    if plan.root.is_sent() {
        let mut sent = None;
        let take = |root: OwnedFd| {
            sent = Some(root);
            Ok(())
        };
        channel
            .await_order(Order::Root, take)
            .map_err(Step::Handshake.failed(5))?;
        if let Some(tree) = sent {
            attach(&tree, target).map_err(failed)?;
            return Ok(tree);
        }
    }
    plan.root.mount().map_err(failed)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, target, flags, Mode::empty()).map_err(failed)
}

fn attach(tree: &OwnedFd, target: &CStr) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, c"", CWD, target, flags)
}

pub(super) fn enter_root(plan: &Plan, root: BorrowedFd<'_>, pid: i32) -> Result<(), Message> {
    if plan.root_read_only {
        let read_only = mount::Attributes {
            set: libc::MOUNT_ATTR_RDONLY,
            ..mount::Attributes::default()
        };
        mount::set_attributes(root, &read_only, false).map_err(Step::ReadOnlyRoot.failed(0))?;
    }
    plan.hooks
        .run(Point::CreateContainer, pid)
        .map_err(Message::Hook)?;
    Ok(change_root(plan, root).map_err(Step::Pivot.failed(0))?)
}

fn change_root(plan: &Plan, root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    if plan.options.no_pivot {
        // The old root stays below the new one, where only a process with CAP_SYS_ADMIN could reach it.
        rustix::mount::mount_move(c".", c"/")?;
        rustix::process::chroot(c".")?;
        return rustix::process::chdir(c"/");
    }
    // The old root is stacked on the new one and unmounted at once: pivot_root(2), "pivot_root(".", ".")".
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}
