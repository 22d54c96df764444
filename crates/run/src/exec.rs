//! `box exec`: a process that joins a running container, with all that confines the container's own.
//!
//! The container sees the process as soon as it is in the pid namespace, and may be hostile: the process cannot be looked into
//! (not dumpable), holds no descriptor of the host but those it needs, is confined before it executes anything, and the program
//! it was started from is reached through a read-only mount (see [`sealed`]; CVE-2016-9962, CVE-2019-5736, CVE-2024-21626).

pub mod sealed;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use oci_spec::runtime::Process;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use crate::capabilities::Capabilities;
use crate::cgroup::Join;
use crate::channel::{self, Channel, Failed, Message, Step};
use crate::instance::Live;
use crate::process::{QUIET_AFTER, Watch, Watched};
use crate::signals::Forwarding;
use crate::sys::process::{self as sys, Cloned};
use crate::tty::{self, RawMode, Relay};
use crate::user::Accounts;
use crate::{Error, ExitStatus, Instance, Plan, confine, init};

/// What `box exec` is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `-e`, over the container's own variables.
    pub env: Vec<(String, String)>,
    /// `-w`: absolute; the container's own if `None`.
    pub cwd: Option<PathBuf>,
    /// `-u USER[:GROUP]`; the container's own if `None`.
    pub user: Option<String>,
    /// `-t`: a terminal of its own.
    pub terminal: bool,
    /// `-d`: it lives on without us, and nobody reads what it prints.
    pub detach: bool,
}

/// Runs a command in the container. Returns how it ended; `None` for one that runs on by itself.
pub fn exec(instance: &Instance, request: &Request) -> Result<Option<ExitStatus>, Error> {
    match join(instance, request) {
        // It may have ended on the way: then that is why, whatever failed.
        Err(error) => Err(match instance.live() {
            Err(ended) => ended,
            Ok(live) if live.is_ending() => Error::NotRunning {
                name: instance.name().to_owned(),
                status: "ending".to_owned(),
            },
            Ok(_) => error,
        }),
        joined => joined,
    }
}

fn join(instance: &Instance, request: &Request) -> Result<Option<ExitStatus>, Error> {
    let live = instance.live()?;
    if live.is_frozen()? {
        return Err(Error::NotRunning {
            name: instance.name().to_owned(),
            status: "paused".to_owned(),
        });
    }
    let accounts = match &request.user {
        Some(_) => Accounts::of_container(instance, &live)?,
        None => Accounts::default(),
    };
    let mut plan = Plan::joining(instance, |process| adapt(process, request, &accounts))?;
    if request.detach {
        let null = || tty::null().map_err(|errno| Error::io("open", Path::new("/dev/null"), errno));
        plan.stdio = Some([null()?, null()?, null()?]);
    }
    let join = Joining::new(&live, request)?;
    let signals = Forwarding::begin().map_err(|errno| Error::system("block signals", errno))?;
    let (channel, theirs) =
        channel::pair().map_err(|errno| Error::system("make a socket pair", errno))?;
    let failed = |errno| Error::system(format!("join {}", instance.name()), errno);
    // From the first moment in the container's pid namespace.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    join.enter_pid_namespace().map_err(failed)?;
    let (pid, pidfd) = match sys::clone3(0, join.group.clone_descriptor()).map_err(failed)? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            drop(channel);
            child(&plan, &join, theirs)
        }
    };
    // What is cloned from now on is the host's again.
    join.leave_pid_namespace().map_err(failed)?;
    drop((theirs, join));
    let joined = Joined {
        pid,
        pidfd,
        detach: request.detach,
        signals,
    };
    joined.follow(&plan, &channel)
}

/// The container's process as the request changes it.
fn adapt(process: &mut Process, request: &Request, accounts: &Accounts) -> Result<(), Error> {
    process.set_args(Some(request.command.clone()));
    process.set_terminal(Some(request.terminal));
    let mut env = process.env().clone().unwrap_or_default();
    let mut set = |key: &str, value: &str| {
        let prefix = format!("{key}=");
        env.retain(|entry| !entry.starts_with(&prefix));
        env.push(format!("{prefix}{value}"));
    };
    if let Some(user) = &request.user {
        let identity = accounts.resolve(user, &[])?;
        set("HOME", &identity.home);
        let held = process
            .capabilities()
            .as_ref()
            .map(Capabilities::from_oci)
            .unwrap_or_default();
        let capabilities = match identity.uid {
            0 => Capabilities::for_root(held.bounding),
            _ => Capabilities::for_user(held.bounding, held.ambient),
        };
        process.set_capabilities(Some(capabilities.to_oci()));
        let mut changed = process.user().clone();
        changed.set_uid(identity.uid).set_gid(identity.gid);
        changed.set_additional_gids(Some(identity.groups));
        process.set_user(changed);
    }
    for (key, value) in &request.env {
        set(key, value);
    }
    process.set_env(Some(env));
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.clone());
    }
    Ok(())
}

/// What the child needs to get in.
struct Joining {
    target: OwnedFd,
    namespaces: ThreadNameSpaceType,
    /// The pid namespace of box.
    home: OwnedFd,
    group: Join,
    detach: bool,
}

impl Joining {
    fn new(live: &Live, request: &Request) -> Result<Self, Error> {
        let target = live.pidfd().try_clone_to_owned();
        let target = target.map_err(|error| Error::system("copy a descriptor", error))?;
        let group = live
            .cgroup()?
            .filter(|group| group.exists())
            .map_or(Ok(Join::None), |group| group.join())?;
        Ok(Self {
            target,
            namespaces: foreign_namespaces(live.pid())?,
            home: open_own_pid_namespace()?,
            group,
            detach: request.detach,
        })
    }

    fn enter_pid_namespace(&self) -> Result<(), Errno> {
        let pid = self.namespaces & ThreadNameSpaceType::PROCESS_ID;
        if pid.is_empty() {
            Ok(())
        } else {
            move_into_thread_name_spaces(self.target.as_fd(), pid)
        }
    }

    /// Nothing of box but the command is in the container's: it could see that, and end it.
    fn leave_pid_namespace(&self) -> Result<(), Errno> {
        let pid = LinkNameSpaceType::ProcessID;
        move_into_link_name_space(self.home.as_fd(), Some(pid))
    }
}

fn open_own_pid_namespace() -> Result<OwnedFd, Error> {
    let path = Path::new("/proc/self/ns/pid");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("open", path, errno))
}

/// The namespaces of a process that are not ours.
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

/// The child: from the fork to the command. Does not return.
fn child(plan: &Plan, join: &Joining, channel: Channel) -> ! {
    let mut line = Some(channel);
    let message = match set_up(plan, join, &mut line) {
        Ok(()) => confine::execute(&plan.command),
        Err(failed) => Message::Failed(failed),
    };
    if let Some(line) = line {
        // If the parent is gone there is nobody to tell.
        let _ = line.send(&message);
    }
    sys::exit(125)
}

fn set_up(plan: &Plan, join: &Joining, line: &mut Option<Channel>) -> Result<(), Failed> {
    let channel = line
        .as_ref()
        .ok_or(Errno::BADF)
        .map_err(Step::Handshake.failed(0))?;
    if !join.detach {
        init::die_with_parent(channel)?;
    }
    join.group.enter().map_err(Step::Handshake.failed(1))?;
    rustix::process::setsid().map_err(Step::Session.failed(0))?;
    let rest = join.namespaces - ThreadNameSpaceType::PROCESS_ID;
    if !rest.is_empty() {
        move_into_thread_name_spaces(join.target.as_fd(), rest)
            .map_err(Step::JoinNamespace.failed(0))?;
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
    tty::take_stdio(terminal.as_ref(), plan.stdio.as_ref(), plan.uid)
        .map_err(Step::Stdio.failed(0))?;
    if let Some(channel) = line.take() {
        *line = Some(
            channel
                .move_to(3)
                .map_err(Step::CloseDescriptors.failed(0))?,
        );
    }
    // All at once, by number.
    std::mem::forget(terminal);
    sys::close_from(4).map_err(Step::CloseDescriptors.failed(1))?;
    confine::confine(plan)?;
    if !join.detach {
        // The change of user cleared it, prctl(2).
        init::die_with_parent(
            line.as_ref()
                .ok_or(Errno::BADF)
                .map_err(Step::Handshake.failed(3))?,
        )?;
    }
    Ok(())
}

/// Takes a terminal from what is mounted on the container's /dev/pts, if that is a devpts: the container could have put
/// anything there (CVE-2025-52565).
fn open_terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let devpts = openat(CWD, c"/dev/pts", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&devpts)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NOTTY);
    }
    tty::allocate(devpts.as_fd(), None)
}

/// The parent's side of a process that joined. Dropped, it is killed, unless it is to live on.
struct Joined {
    pid: i32,
    pidfd: OwnedFd,
    detach: bool,
    signals: Forwarding,
}

impl Joined {
    /// Waits until the command runs, and for its end.
    fn follow(mut self, plan: &Plan, channel: &Channel) -> Result<Option<ExitStatus>, Error> {
        let failed = |errno: Errno| Error::system("wait for the command", errno);
        let mut terminal = None;
        while let Some(message) = channel.receive().map_err(failed)? {
            match message {
                Message::Ready(master) => terminal = master.or(terminal),
                refused => return Err(plan.refusal(refused)),
            }
        }
        if self.detach {
            return Ok(None);
        }
        let raw = if terminal.is_some() {
            RawMode::enter().map_err(failed)?
        } else {
            None
        };
        let relay = terminal.map(Relay::new).transpose().map_err(failed)?;
        let mut watch = Watch {
            relay,
            quiet: Some(Instant::now() + QUIET_AFTER),
            ..Watch::default()
        };
        while !self.watched().turn(&mut watch).map_err(failed)? {}
        if let Some(relay) = &mut watch.relay {
            relay.drain().map_err(failed)?;
        }
        drop(raw);
        let exit = sys::wait(self.pidfd.as_fd()).map_err(failed)?;
        // Reaped: nothing is left to be killed.
        self.detach = true;
        Ok(Some(exit.status))
    }

    fn watched(&self) -> Watched<'_> {
        let pidfd: BorrowedFd<'_> = self.pidfd.as_fd();
        Watched {
            pid: self.pid,
            pidfd,
            signals: &self.signals,
            group: None,
            kill_after: None,
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if !self.detach {
            // It may have ended by itself; either way it is reaped.
            let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(self.pidfd.as_fd());
        }
    }
}
