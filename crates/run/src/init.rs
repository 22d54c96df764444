//! The child's side of a start: the container's first process, from clone3 to the command. A numbered list of
//! steps; each that fails is told to the parent by number. It has a copy of the parent's memory and one thread.

pub(crate) mod confine;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{
    DumpableBehavior, Gid, Signal, Uid, set_dumpable_behavior, set_parent_process_death_signal,
    umask,
};

use crate::channel::progress::Progress;
use crate::channel::{Channel, Failed, Message, Order, Step};
use crate::devices::null::host_null;
use crate::hooks::{Hooks, Point};
use crate::mounts::{self, Kind, Mounted};
use crate::plan::Plan;
use crate::sealed::{self, Sealed, layout};
use crate::sys::{mount, network, process};
use crate::{Error, tty};

/// Sets the container up and executes its command. Does not return.
pub(crate) fn run(plan: &Plan, channel: Channel, progress: &Progress) -> ! {
    let _no_way_back = NoWayBack;
    let mut channel = Some(channel);
    let failed = match set_up(plan, &mut channel, progress) {
        Ok(sealed) => hand_over(&sealed, channel.as_ref(), progress),
        Err(failed) => failed,
    };
    if let Some(channel) = channel {
        // If the parent is gone there is nobody to tell.
        let _ = channel.send(&failed);
    }
    process::exit(125)
}

/// Returns only if the sealed program cannot be executed.
fn hand_over(sealed: &Sealed, channel: Option<&Channel>, progress: &Progress) -> Message {
    let Some(line) = channel else {
        return Step::Seal.failed(1)(Errno::BADF).into();
    };
    progress.done();
    Step::Seal.failed(0)(sealed.take_over(line.as_fd())).into()
}

/// A panic must not unwind into the parent's half of the code, which would clean up after a container that lives. The released box
/// aborts on a panic and needs none of this; one that unwinds ends here.
struct NoWayBack;

impl Drop for NoWayBack {
    fn drop(&mut self) {
        process::exit(125)
    }
}

fn set_up(plan: &Plan, line: &mut Option<Channel>, progress: &Progress) -> Result<Sealed, Message> {
    let channel = line
        .as_ref()
        .ok_or(Errno::BADF)
        .map_err(Step::Handshake.failed(0))?;
    let mut placed = None;
    let pid = host_pid(plan).map_err(Step::Hook.failed(0))?;
    // 1. Life and death.
    depend_on_box(plan, channel)?;
    // 2. Namespaces that clone3 did not make.
    progress.at(Step::Unshare, 0);
    if plan.idmap.is_some() {
        // Ids mean nothing before the parent has written the maps.
        wait_until_placed(plan, channel, &mut placed)?;
        become_root().map_err(Step::UserNamespace.failed(0))?;
    }
    rustix::process::setsid().map_err(Step::Session.failed(0))?;
    enter_namespaces(plan)?;
    // 3. The root file system and all that is mounted in it.
    progress.at(Step::Rootfs, 0);
    umask(Mode::empty());
    let root = rootfs(plan, channel)?;
    let (mounted, terminal) = make_mounts(plan, channel, root.as_fd(), &mut placed, progress)?;
    // For standard input, output and error, if the container has no null device of its own. Only from here the host's can be had.
    let lent = match mounted.null {
        Some(_) => None,
        None => host_null().ok(),
    };
    // 4. The control group, if no mount needed it before.
    progress.at(Step::Handshake, 0);
    wait_until_placed(plan, channel, &mut placed)?;
    let sealed = placed;
    // 5. What is written below /proc and hidden below it.
    progress.at(Step::Mask, 0);
    set_parameters(plan, &mounted)?;
    mounts::mask(root.as_fd(), &plan.masked, &mounted)
        .map_err(|(index, errno)| Step::Mask.failed(index)(errno))?;
    let hidden = mounts::read_only(root.as_fd(), &plan.read_only, &mounted);
    hidden.map_err(|(index, errno)| Step::ReadOnlyPath.failed(index)(errno))?;
    // 6. The root, and what is named in there.
    progress.at(Step::Pivot, 0);
    enter_root(plan, root.as_fd(), pid)?;
    set_names(plan)?;
    process::new_session_keyring()
        .or_else(without_keys)
        .map_err(Step::Keyring.failed(0))?;
    // 7. Ready; an OCI `create` ends here, and `start` begins.
    if plan.gated {
        progress.at(Step::Handshake, 0);
        channel
            .send(&Message::Ready(None))
            .map_err(Step::Handshake.failed(0))?;
        channel
            .await_order(Order::Go, |_| Ok(()))
            .map_err(Step::Handshake.failed(1))?;
    }
    // 8. Descriptors: the command gets 0, 1, 2 and what was asked for; the sealed program gets the line, and what it is to do.
    progress.at(Step::CloseDescriptors, 0);
    let null = mounted.null.as_ref().or(lent.as_ref());
    tty::take_stdio(terminal.as_ref(), plan.stdio.as_ref(), plan.uid, null)
        .and_then(|()| terminal.as_ref().map_or(Ok(()), tty::take_control))
        .map_err(Step::Stdio.failed(0))?;
    // The steps so far closed nothing by name: all of it goes at once.
    std::mem::forget((root, mounted, terminal, lent));
    let sealed = sealed
        .ok_or(Errno::BADF)
        .and_then(|sealed| sealed.keep(line, line_number(plan)))
        .map_err(Step::CloseDescriptors.failed(0))?;
    // 9. The command's own properties; giving up privileges is the sealed program's.
    progress.at(Step::User, 0);
    confine::confine(plan, confine::Missing::Make)?;
    Ok(sealed)
}

/// The number of the line to box from there on; the sealed program and its task are above it.
fn line_number(plan: &Plan) -> i32 {
    3 + plan.options.preserve_fds as i32
}

/// What the sealed program does in the container's first process, number `pid` for the host. In the parent.
pub(crate) fn seal(plan: &Plan, hooks: &Hooks, pid: i32) -> Result<Sealed, Error> {
    let mut script = confine::script(plan, line_number(plan))?;
    confine::die_with_box(&mut script);
    hooks
        .run_by(&mut script, Point::StartContainer, pid)
        .map_err(|failure| hooks.error(failure))?;
    if plan.options.init {
        let signals = [sealed::forwarded() as usize];
        script.add(layout::BECOME_REAPER, &signals, Step::Fork, 0);
    }
    script
        .execute(&plan.command)
        .map_err(|errno| Error::system("make the program that executes the command", errno))
}

/// This process dies with box, and when memory runs out as was asked for.
fn depend_on_box(plan: &Plan, channel: &Channel) -> Result<(), Failed> {
    die_with_parent(channel)?;
    if let Some(score) = &plan.oom_score_adj {
        // The host's procfs, as the root is still the host's.
        write_file(c"/proc/self/oom_score_adj", score.to_bytes())
            .map_err(Step::OomScore.failed(0))?;
    }
    // Nobody looks into this process while it holds descriptors of the host (CVE-2016-9962); exec ends it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Step::DieWithParent.failed(1))
}

/// All mounts in their order, with the nodes in /dev and the terminal as soon as their file systems are there.
fn make_mounts(
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
        if matches!(plan.mounts[index].kind, Kind::Cgroup { .. }) {
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

fn enter_root(plan: &Plan, root: BorrowedFd<'_>, pid: i32) -> Result<(), Message> {
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

fn set_names(plan: &Plan) -> Result<(), Failed> {
    if let Some(hostname) = &plan.hostname {
        rustix::system::sethostname(hostname.to_bytes()).map_err(Step::Hostname.failed(0))?;
    }
    if let Some(domainname) = &plan.domainname {
        rustix::system::setdomainname(domainname.to_bytes()).map_err(Step::Domainname.failed(0))?;
    }
    Ok(())
}

/// Our pid for the host, which hooks are told: what its procfs, still at hand, calls us.
fn host_pid(plan: &Plan) -> Result<i32, Errno> {
    if !plan.hooks.any(Point::CreateContainer) {
        return Ok(0);
    }
    let link = readlinkat(CWD, c"/proc/self", vec![])?;
    link.to_str()
        .ok()
        .and_then(|pid| pid.parse().ok())
        .ok_or(Errno::INVAL)
}

/// SIGKILL for us when the parent dies. It may have died before the call: then its end of the line is closed.
pub(crate) fn die_with_parent(channel: &Channel) -> Result<(), Failed> {
    let failed = Step::DieWithParent.failed(0);
    set_parent_process_death_signal(Some(Signal::KILL))
        .and_then(|()| channel.is_hung_up())
        .map_err(failed)
        .map(|gone| {
            if gone {
                process::exit(125)
            }
        })
}

fn enter_namespaces(plan: &Plan) -> Result<(), Failed> {
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

/// The new time namespace is for children until its clocks are set; then this process moves in, time_namespaces(7).
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

fn write_file(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text).map(drop)
}

/// The parent has put us into our control group, or hands over the files to get in, with the sealed program; only then is the namespace made,
/// as its root is the group of that moment, cgroup_namespaces(7).
fn wait_until_placed(
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
        // A file of the group; writing 0 means the writer.
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

/// Root of the user namespace, to which the maps have just given an id.
pub(crate) fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Mounts the root file system and opens it.
fn rootfs(plan: &Plan, channel: &Channel) -> Result<OwnedFd, Failed> {
    mount::make_private().map_err(Step::Propagation.failed(0))?;
    let failed = |errno| Step::Rootfs.failed(0)(errno);
    let target = plan.root.target();
    if let Some(tree) = &plan.tree {
        // Paths of the host are out of reach for root of a user namespace. The old root, which is about to go, is a place that
        // needs no right to get to.
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

/// Takes a terminal from the container's own devpts, shows it as /dev/console, and gives its master side to the parent.
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
    let (master, terminal) = tty::allocate(devpts, dev).map_err(failed)?;
    channel
        .send(&Message::Ready(Some(master)))
        .map_err(Step::Handshake.failed(4))?;
    Ok(terminal)
}

/// Kernel parameters and the OOM score, through the procfs that we mounted ourselves: whatever the image or a volume has
/// put at /proc, this is procfs (CVE-2025-52881), and no link is followed.
fn set_parameters(plan: &Plan, mounted: &Mounted) -> Result<(), Failed> {
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

fn change_root(plan: &Plan, root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    if plan.options.no_pivot {
        // The old root stays below, out of reach of a process without CAP_SYS_ADMIN.
        rustix::mount::mount_move(c".", c"/")?;
        rustix::process::chroot(c".")?;
        return rustix::process::chdir(c"/");
    }
    // The old root is stacked on the new one and taken off again: pivot_root(2), "pivot_root(".", ".")".
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// A kernel without keys, or an outer container that forbids them: nothing to keep from the container.
pub(crate) fn without_keys(errno: Errno) -> Result<(), Errno> {
    match errno {
        Errno::NOSYS | Errno::PERM | Errno::DQUOT => Ok(()),
        errno => Err(errno),
    }
}
