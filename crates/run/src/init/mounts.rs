//! Makes all mounts in the root file system, the device nodes and the terminal, and sets kernel parameters. In the child.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::placement::wait_until_placed;
use crate::channel::progress::Progress;
use crate::channel::{Channel, Failed, Message, Step};
use crate::mounts::{self, MountKind, Mounted};
use crate::plan::Plan;
use crate::sealed::Sealed;
use crate::tty::allocation;

/// Makes all mounts in order, and the nodes in /dev and the terminal as soon as their file systems exist.
pub(super) fn make_mounts(
    plan: &Plan,
    channel: &Channel,
    root: BorrowedFd<'_>,
    placed: &mut Option<Sealed>,
    progress: &Progress,
) -> Result<(Mounted, Option<OwnedFd>), Failed> {
    let dev = plan.nodes.as_ref().map(|nodes| nodes.base);
    let mut mounted = Mounted::with_capacity(&plan.mounts, dev);
    let mut terminal = None;
    for index in 0..plan.mounts.len() {
        progress.at(Step::Mount, index);
        if matches!(plan.mounts[index].kind, MountKind::Cgroup { .. }) {
            wait_until_placed(plan, channel, placed)?;
        }
        mounts::make(root, &plan.mounts, index, &mut mounted)?;
        make_nodes(plan, index, &mut mounted)?;
        if plan.terminal == Some(index) {
            terminal = Some(open_terminal(plan, index, &mounted, channel)?);
        }
    }
    Ok((mounted, terminal))
}

fn make_nodes(plan: &Plan, index: usize, mounted: &mut Mounted) -> Result<(), Failed> {
    match (&plan.nodes, mounted.get(index)) {
        (Some(nodes), Some(dev)) if nodes.base == index => {
            let failed = |(node, errno)| Step::Device.failed(node)(errno);
            nodes.make(dev).map_err(failed)?;
            let null = nodes.open_null(dev).map_err(|errno| failed((0, errno)))?;
            let texts = mounts::write_texts(dev, &plan.mounts)
                .map_err(|(step, errno)| Step::Mount.failed(step)(errno))?;
            (mounted.null, mounted.texts) = (null, texts);
        }
        _ => {}
    }
    Ok(())
}

/// Allocates a terminal from the container's own devpts, binds it to /dev/console, and sends its master side to the parent.
fn open_terminal(
    plan: &Plan,
    index: usize,
    mounted: &Mounted,
    channel: &Channel,
) -> Result<OwnedFd, Failed> {
    let failed = |errno| Step::Terminal.failed(0)(errno);
    let devpts = mounted.get(index).ok_or(Errno::BADF).map_err(failed)?;
    let dev = plan
        .nodes
        .as_ref()
        .and_then(|nodes| mounted.get(nodes.base));
    let (master, terminal) = allocation::allocate(devpts, dev).map_err(failed)?;
    channel
        .send(&Message::Ready(Some(master)))
        .map_err(Step::Handshake.failed(4))?;
    Ok(terminal)
}

/// Sets kernel parameters through the procfs that this process mounted itself: whatever the image or a volume has at /proc, this is
/// procfs (CVE-2025-52881), and no link is followed.
pub(super) fn set_parameters(plan: &Plan, mounted: &Mounted) -> Result<(), Failed> {
    let write = |path: &CStr, value: &[u8]| {
        let proc = plan
            .proc
            .and_then(|step| mounted.get(step))
            .ok_or(Errno::NOENT)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = openat2(
            proc,
            path,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?;
        rustix::io::write(&file, value).map(drop)
    };
    for (index, sysctl) in plan.sysctls.iter().enumerate() {
        write(&sysctl.path, &sysctl.value).map_err(Step::Sysctl.failed(index))?;
    }
    Ok(())
}
