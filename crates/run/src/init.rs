//! The child's side of a start: the container's first process, from clone3(2) to the command, as a numbered list of steps. A step
//! that fails is reported to the parent by number. The process has a copy of the parent's memory and one thread.

pub(crate) mod confine;
mod mounts;
pub(crate) mod namespaces;
mod placement;
mod procfs;
mod rootfs;
pub(crate) mod ties;

use std::os::fd::AsFd;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};

use crate::Error;
use crate::channel::progress::Progress;
use crate::channel::{Channel, Failed, Message, Order, Step};
use crate::devices::null::host_null;
use crate::hooks::{Hooks, Point};
use crate::mounts::{mask, read_only};
use crate::plan::Plan;
use crate::sealed::{self, Sealed, layout};
use crate::sys::process;
use crate::tty::allocation;
use mounts::{make_mounts, set_parameters};
use namespaces::{become_root, enter_namespaces, set_names};
use placement::wait_until_placed;
use procfs::{host_pid, write_file};
use rootfs::{enter_root, rootfs};
use ties::die_with_parent;

/// Sets the container up and executes its command. Does not return.
pub(crate) fn run(plan: &Plan, channel: Channel, progress: &Progress) -> ! {
    let _no_way_back = NoWayBack;
    let mut channel = Some(channel);
    let failed = match set_up(plan, &mut channel, progress) {
        Ok(sealed) => hand_over(&sealed, channel.as_ref(), progress),
        Err(failed) => failed,
    };
    if let Some(channel) = channel {
        // Without a parent there is no one to report to.
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

/// A panic must not unwind into the parent's half of the code, which would clean up after a container that is still alive. A
/// release build aborts on a panic and never gets here; a debug build, which unwinds, ends here.
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
        // No id is mapped before the parent has written the maps.
        wait_until_placed(plan, channel, &mut placed)?;
        become_root().map_err(Step::UserNamespace.failed(0))?;
    }
    rustix::process::setsid().map_err(Step::Session.failed(0))?;
    enter_namespaces(plan)?;
    // 3. The root file system and all that is mounted in it.
    progress.at(Step::Rootfs, 0);
    // Nodes and mount points get exactly the modes that they are made with. The umask belongs to a whole process, and this one is the
    // container's alone: clone3(2) without CLONE_FS has copied the parent's. `confine` sets the command's.
    umask(Mode::empty());
    let root = rootfs(plan, channel)?;
    let (mounted, terminal) = make_mounts(plan, channel, root.as_fd(), &mut placed, progress)?;
    // The host's null device stands in if the container has none of its own. It cannot be opened once the root has changed.
    let lent = match mounted.null {
        Some(_) => None,
        None => host_null().ok(),
    };
    // 4. The control group, unless a mount needed it before.
    progress.at(Step::Handshake, 0);
    wait_until_placed(plan, channel, &mut placed)?;
    let sealed = placed;
    // 5. Kernel parameters, masked and read-only paths.
    progress.at(Step::Mask, 0);
    set_parameters(plan, &mounted)?;
    mask(root.as_fd(), &plan.masked, &mounted)
        .map_err(|(index, errno)| Step::Mask.failed(index)(errno))?;
    let hidden = read_only(root.as_fd(), &plan.read_only, &mounted);
    hidden.map_err(|(index, errno)| Step::ReadOnlyPath.failed(index)(errno))?;
    // 6. The root, host name and keyring.
    progress.at(Step::Pivot, 0);
    enter_root(plan, root.as_fd(), pid)?;
    set_names(plan)?;
    process::new_session_keyring()
        .or_else(without_keys)
        .map_err(Step::Keyring.failed(0))?;
    // 7. Ready: an OCI `create` ends here, and `start` continues.
    if plan.gated {
        progress.at(Step::Handshake, 0);
        channel
            .send(&Message::Ready(None))
            .map_err(Step::Handshake.failed(0))?;
        channel
            .await_order(Order::Go, |_| Ok(()))
            .map_err(Step::Handshake.failed(1))?;
    }
    // 8. Descriptors: the command gets 0, 1, 2 and the preserved ones; the sealed program gets the channel and its task.
    progress.at(Step::CloseDescriptors, 0);
    let null = mounted.null.as_ref().or(lent.as_ref());
    allocation::take_stdio(terminal.as_ref(), plan.stdio.as_ref(), plan.uid, null)
        .and_then(|()| terminal.as_ref().map_or(Ok(()), allocation::take_control))
        .map_err(Step::Stdio.failed(0))?;
    // All descriptors of the set-up are closed at once, by `keep`: with the default mounts, two calls of close_range(2) close some twenty
    // mounts, mount points and file system contexts that would take a close(2) each. So their owners are forgotten here, and wherever
    // a step above has no more use for one. Nothing can leak into the command: all of them are close-on-exec, too.
    std::mem::forget((root, mounted, terminal, lent));
    let sealed = sealed
        .ok_or(Errno::BADF)
        .and_then(|sealed| sealed.keep(line, line_number(plan)))
        .map_err(Step::CloseDescriptors.failed(0))?;
    // 9. The command's own properties. The sealed program gives up the privileges.
    progress.at(Step::User, 0);
    confine::confine(plan, confine::Missing::Make)?;
    Ok(sealed)
}

/// The descriptor of the channel to box from then on. The sealed program and its task have higher numbers.
fn line_number(plan: &Plan) -> i32 {
    3 + plan.options.preserve_fds as i32
}

/// Makes the sealed program and its task for the container's first process, whose pid on the host is `pid`. In the parent.
pub(crate) fn seal(plan: &Plan, hooks: &Hooks, pid: i32) -> Result<Sealed, Error> {
    let mut script = confine::script(plan, line_number(plan))?;
    if !plan.options.outlives_caller {
        confine::die_with_box(&mut script);
    }
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

/// Ties this process to box's life, sets its OOM score, and makes it undumpable.
fn depend_on_box(plan: &Plan, channel: &Channel) -> Result<(), Failed> {
    if !plan.options.outlives_caller {
        die_with_parent(channel)?;
    }
    if let Some(score) = &plan.oom_score_adj {
        // The root is still the host's, and so is procfs.
        write_file(c"/proc/self/oom_score_adj", score.to_bytes())
            .map_err(Step::OomScore.failed(0))?;
    }
    // No process may inspect this one while it holds descriptors of the host (CVE-2016-9962). execve(2) resets the flag.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Step::DieWithParent.failed(1))
}

/// A kernel without keys, or an outer container that forbids them, has no keys to protect.
pub(crate) fn without_keys(errno: Errno) -> Result<(), Errno> {
    match errno {
        Errno::NOSYS | Errno::PERM | Errno::DQUOT => Ok(()),
        errno => Err(errno),
    }
}
