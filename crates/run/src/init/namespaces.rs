//! The namespaces that clone3(2) does not make, and the host and domain name. In the child.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::procfs::write_file;
use crate::channel::{Failed, Step};
use crate::plan::Plan;
use crate::sys::{network, process};

pub(super) fn enter_namespaces(plan: &Plan) -> Result<(), Failed> {
    for (index, joined) in plan.namespaces.joined.iter().enumerate() {
        let file = joined
            .file
            .as_ref()
            .ok_or(Errno::BADF)
            .map_err(Step::JoinNamespace.failed(index))?;
        rustix::thread::move_into_link_name_space(file.as_fd(), None)
            .map_err(Step::JoinNamespace.failed(index))?;
    }
    if plan.namespaces.network {
        if plan.namespaces.clone & libc::CLONE_NEWNET as u64 == 0 {
            process::unshare(libc::CLONE_NEWNET).map_err(Step::Unshare.failed(0))?;
        }
        network::set_loopback_up().map_err(Step::Loopback.failed(0))?;
    }
    if let Some(offsets) = &plan.namespaces.time {
        enter_time_namespace(offsets).map_err(Step::Unshare.failed(2))?;
    }
    Ok(())
}

/// A new time namespace is for children only. This process sets its clocks and then joins it, time_namespaces(7).
fn enter_time_namespace(offsets: &[u8]) -> Result<(), Errno> {
    process::unshare(CLONE_NEWTIME)?;
    if !offsets.is_empty() {
        write_file(c"/proc/self/timens_offsets", offsets)?;
    }
    let namespace = openat(
        CWD,
        c"/proc/self/ns/time_for_children",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
}

// linux/sched.h; libc lacks it for some targets.
const CLONE_NEWTIME: i32 = 0x80;

/// Becomes root of the user namespace, whose maps have just been written.
pub(crate) fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

pub(super) fn set_names(plan: &Plan) -> Result<(), Failed> {
    if let Some(hostname) = &plan.hostname {
        rustix::system::sethostname(hostname.to_bytes()).map_err(Step::Hostname.failed(0))?;
    }
    if let Some(domainname) = &plan.domainname {
        rustix::system::setdomainname(domainname.to_bytes()).map_err(Step::Domainname.failed(0))?;
    }
    Ok(())
}
