//! A process that joins a running container, under the same confinement as the container's own processes.
//!
//! A hostile container sees the process as soon as it is in the pid namespace: with CAP_SYS_PTRACE it can stop it, read its memory
//! and take it over. So a helper outside that namespace joins all others, enters the control group, takes standard input and
//! output, closes the host's descriptors, executes the sealed program (see `sealed.rs`), and gives up its privileges. Only
//! then does the program fork the process that the container sees. All this process has from box is one end of a socket, whose
//! messages box does not trust (CVE-2016-9962, CVE-2019-5736, CVE-2024-21626).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, set_dumpable_behavior,
    waitid,
};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::foreground::Foreground;
use super::supervised::Supervised;
use crate::cgroup::{Cgroup, Join};
use crate::channel::{self, Channel, Failed, Message, Order, Step};
use crate::devices::null::{is_null, null_of};
use crate::init::{self, confine, namespaces, ties};
use crate::plan::{Bundle, Plan};
use crate::sealed::{Sealed, layout};
use crate::signals::Forwarding;
use crate::sys::process::{self as sys, Cloned};
use crate::tty::allocation;
use crate::{Error, ExitStatus};

/// The running container to join.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its first process, in the caller's pid namespace.
    pub pid: i32,
    /// A descriptor of the first process.
    pub pidfd: BorrowedFd<'a>,
    /// Its control group; `None` if it has none.
    pub cgroup: Option<Cgroup>,
}

/// Runs the process of the bundle's spec in a running container. Returns its exit status, or `None` at once with `detach`: then the
/// process outlives box, and its output goes nowhere.
pub fn exec(
    target: &Target<'_>,
    bundle: &Bundle,
    detach: bool,
) -> Result<Option<ExitStatus>, Error> {
    let root = PathBuf::from(format!("/proc/{}/root", target.pid));
    let mut plan = Plan::joining(bundle)?;
    plan.stdio =
        stdio(&root, detach).map_err(|errno| Error::io("open", Path::new("/dev/null"), errno))?;
    let join = Joining::new(target, detach)?;
    let signals =
        Forwarding::to_command().map_err(|errno| Error::system("block signals", errno))?;
    let (channel, theirs) =
        channel::pair().map_err(|errno| Error::system("make a socket pair", errno))?;
    let failed = |errno| Error::system(format!("join {}", bundle.id), errno);
    channel.name_senders().map_err(failed)?;
    let sealed = seal(&plan, detach)?;
    let (pid, pidfd) = match sys::clone3(0, join.group.clone_descriptor()).map_err(failed)? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            drop(channel);
            child(&plan, &join, theirs, sealed)
        }
    };
    let helper = Helper(JoinedProcess { pid, pidfd });
    drop((theirs, join, sealed));
    let (joined, terminal) = helper.follow(&plan, &channel)?;
    if detach {
        // Dropping this value would kill the process, which is to live on.
        std::mem::forget(joined);
        return Ok(None);
    }
    joined.wait(&signals, terminal).map(Some)
}

/// The command's standard input, output and error: the container's null device replaces each that is a null device, or all three if
/// `detach` is set. The host's is never passed in, because its mode and owner could be changed through the descriptor.
fn stdio(root: &Path, detach: bool) -> Result<Option<[OwnedFd; 3]>, Errno> {
    let ours = [stdin(), stdout(), stderr()];
    let mut nothing = [detach; 3];
    for (file, nothing) in ours.iter().zip(&mut nothing) {
        *nothing |= is_null(&fstat(file)?);
    }
    if nothing == [false; 3] {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    let one = |number: usize| match nothing[number] {
        true => null_of(root.as_fd()),
        false => rustix::io::fcntl_dupfd_cloexec(ours[number], 3),
    };
    Ok(Some([one(0)?, one(1)?, one(2)?]))
}

/// What the child needs to enter the container.
struct Joining {
    target: OwnedFd,
    namespaces: ThreadNameSpaceType,
    group: Join,
    detach: bool,
}

impl Joining {
    fn new(target: &Target<'_>, detach: bool) -> Result<Self, Error> {
        let group = target.cgroup.as_ref().filter(|group| group.exists());
        let group = group.map_or(Ok(Join::None), Cgroup::join)?;
        let namespaces = foreign_namespaces(target.pid)?;
        let target = target.pidfd.try_clone_to_owned();
        Ok(Self {
            target: target.map_err(|error| Error::system("copy a descriptor", error))?,
            namespaces,
            group,
            detach,
        })
    }

    /// Enters all namespaces. The pid namespace only takes effect for children, setns(2).
    fn enter(&self) -> Result<(), Errno> {
        if self.namespaces.is_empty() {
            return Ok(());
        }
        move_into_thread_name_spaces(self.target.as_fd(), self.namespaces)?;
        if self.namespaces.contains(ThreadNameSpaceType::USER) {
            // With an unmapped id, execve(2) would drop all capabilities.
            namespaces::become_root()?;
        }
        Ok(())
    }
}

/// The namespaces of a process that this one is not in.
fn foreign_namespaces(pid: i32) -> Result<ThreadNameSpaceType, Error> {
    // linux/sched.h, and not in rustix for all kernels.
    const TIME: ThreadNameSpaceType = ThreadNameSpaceType::TIME;
    let all = [
        ("user", ThreadNameSpaceType::USER),
        ("mnt", ThreadNameSpaceType::MOUNT),
        ("pid", ThreadNameSpaceType::PROCESS_ID),
        ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        ("net", ThreadNameSpaceType::NETWORK),
        ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
        ("time", TIME),
    ];
    let mut foreign = ThreadNameSpaceType::empty();
    for (name, kind) in all {
        let theirs = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let identity = |path: &Path| match rustix::fs::stat(path) {
            Ok(found) => Ok(Some((found.st_dev, found.st_ino))),
            // A kernel without this kind.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("look at", path, errno)),
        };
        let ours = identity(&Path::new("/proc/self/ns").join(name))?;
        foreign.set(kind, identity(&theirs)? != ours);
    }
    Ok(foreign)
}

/// The helper, which the container cannot see. It takes on the command's properties and executes the sealed program, which forks a
/// process in the container's pid namespace. Does not return.
fn child(plan: &Plan, join: &Joining, channel: Channel, sealed: Sealed) -> ! {
    let mut line = Some(channel);
    let failed = match set_up(plan, join, &mut line, sealed) {
        Ok(sealed) => line
            .as_ref()
            .map_or(Errno::BADF, |line| sealed.take_over(line.as_fd())),
        Err(failed) => {
            tell(&line, failed);
            sys::exit(125)
        }
    };
    tell(&line, Step::Seal.failed(0)(failed));
    sys::exit(125)
}

fn tell(line: &Option<Channel>, failed: Failed) {
    if let Some(line) = line {
        // Without a parent there is no one to report to.
        let _ = line.send(&Message::Failed(failed));
    }
}

/// The descriptor of the channel to box in the helper from then on. The sealed program and its task have higher numbers.
const LINE: i32 = 3;

fn set_up(
    plan: &Plan,
    join: &Joining,
    line: &mut Option<Channel>,
    sealed: Sealed,
) -> Result<Sealed, Failed> {
    let channel = line
        .as_ref()
        .ok_or(Errno::BADF)
        .map_err(Step::Handshake.failed(0))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Step::DieWithParent.failed(1))?;
    join.group.enter().map_err(Step::Handshake.failed(1))?;
    // Out of the caller's job: box answers the signals that a job gets.
    rustix::process::setsid().map_err(Step::Session.failed(0))?;
    join.enter().map_err(Step::JoinNamespace.failed(0))?;
    if !join.detach {
        // After the change of ids, which clears the death signal, prctl(2).
        ties::die_with_parent(channel)?;
    }
    sys::new_session_keyring()
        .or_else(init::without_keys)
        .map_err(Step::Keyring.failed(0))?;
    let mut terminal = None;
    if plan.terminal.is_some() {
        let (master, line) = open_terminal().map_err(Step::Terminal.failed(0))?;
        channel
            .send(&Message::Ready(Some(master)))
            .map_err(Step::Handshake.failed(2))?;
        terminal = Some(line);
    }
    allocation::take_stdio(terminal.as_ref(), plan.stdio.as_ref(), plan.uid, None)
        .map_err(Step::Stdio.failed(0))?;
    // `keep` closes it with all other descriptors, by number, as in the first process (see `init`).
    std::mem::forget(terminal);
    let sealed = sealed
        .keep(line, LINE)
        .map_err(Step::CloseDescriptors.failed(0))?;
    confine::confine(plan, confine::Missing::Refuse)?;
    Ok(sealed)
}

/// The task of the sealed program: give up the privileges that the container's processes do not have, and only then join them.
fn seal(plan: &Plan, detach: bool) -> Result<Sealed, Error> {
    let mut script = confine::script(plan, LINE)?;
    if !detach {
        confine::die_with_box(&mut script);
    }
    script.add(layout::ENTER_PID_NAMESPACE, &[], Step::Enter, 0);
    script.call(libc::SYS_setsid, &[], Step::Session, 1);
    if plan.terminal.is_some() {
        let arguments = [0, libc::TIOCSCTTY as usize, 0];
        script.call(libc::SYS_ioctl, &arguments, Step::Session, 2);
    }
    if !detach {
        confine::die_with_box(&mut script);
    }
    script.add(layout::ANNOUNCE, &[], Step::Announce, 0);
    script
        .execute(&plan.command)
        .map_err(|errno| Error::system("make the program that executes the command", errno))
}

/// Allocates a terminal from the container's /dev/pts, if that is a devpts: the container could have mounted anything there
/// (CVE-2025-52565).
fn open_terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let devpts = openat(CWD, c"/dev/pts", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&devpts)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NOTTY);
    }
    allocation::allocate(devpts.as_fd(), None)
}

/// A child of box. It is killed on drop.
struct JoinedProcess {
    pid: i32,
    pidfd: OwnedFd,
}

/// The child that forks the joining process, and then ends.
struct Helper(JoinedProcess);

impl Helper {
    /// Waits until the command runs in a process of its own. Returns that process, and the master side of its terminal if it has
    /// one.
    fn follow(
        self,
        plan: &Plan,
        channel: &Channel,
    ) -> Result<(JoinedProcess, Option<OwnedFd>), Error> {
        let failed = |errno: Errno| Error::system("wait for the command", errno);
        let (mut joined, mut terminal) = (None, None);
        while let Some(message) = channel.receive().map_err(failed)? {
            match message {
                // Accepted only before the joining process exists: the container could forge messages of that one.
                Message::Ready(master) if joined.is_none() && plan.terminal.is_some() => {
                    terminal = master.or(terminal);
                }
                Message::Arrived(sender) if joined.is_none() => {
                    joined = Some(self.sibling(sender).map_err(failed)?);
                    channel.order(Order::Go, &[]).map_err(failed)?;
                }
                refused => return Err(plan.refusal(refused)),
            }
        }
        match joined {
            Some(joined) => Ok((joined, terminal)),
            None => Err(Error::Died {
                step: "enter the container".to_owned(),
                status: self.0.reap().map_err(failed)?,
                hint: None,
            }),
        }
    }

    /// The process with this pid, as the kernel reported it, if it is a child of box that the helper forked.
    fn sibling(&self, pid: i32) -> Result<JoinedProcess, Errno> {
        let number = Pid::from_raw(pid)
            .filter(|_| pid != self.0.pid)
            .ok_or(Errno::PROTO)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())?;
        // ECHILD for any other process that got hold of the channel.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), options)?;
        Ok(JoinedProcess { pid, pidfd })
    }
}

impl JoinedProcess {
    /// Waits for the end and forwards signals and the terminal's data meanwhile.
    fn wait(self, signals: &Forwarding, terminal: Option<OwnedFd>) -> Result<ExitStatus, Error> {
        let failed = |errno: Errno| Error::system("wait for the command", errno);
        let mut streams = Foreground::new(terminal).map_err(failed)?;
        let supervised = Supervised {
            pid: self.pid,
            pidfd: self.pidfd.as_fd(),
            signals,
            group: None,
            deadline: None,
            kill_after: None,
        };
        let waited = supervised.wait(None, &mut streams);
        drop(streams);
        waited.map_err(failed)?;
        self.reap().map_err(failed)
    }

    fn reap(&self) -> Result<ExitStatus, Errno> {
        sys::wait(self.pidfd.as_fd()).map(|exit| exit.status)
    }
}

impl Drop for JoinedProcess {
    fn drop(&mut self) {
        // It may have ended already, and be reaped.
        let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = sys::wait(self.pidfd.as_fd());
    }
}
