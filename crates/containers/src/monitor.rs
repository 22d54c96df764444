//! The monitor: the supervisor of a detached container. It writes the log, lets clients attach to the container's terminal or input,
//! records the end of the container and cleans up. It is a fork of box with one thread, in a session of its own.

pub mod attach;
mod broadcast;
mod pipes;
mod socket;

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use box_run::process::Streams;
use box_run::sys::process::{self as sys, Cloned};
use box_run::{Ended, Plan, Running, tty};

use crate::container::launch;
use crate::logs::{Driver, Writer};
use crate::{Container, Error};
use broadcast::{Broadcast, End};
use pipes::Pipes;

/// What the monitor reports to its parent.
#[derive(Serialize, Deserialize)]
enum StartReport {
    /// The command is running.
    Running,
    /// The command could not be started.
    Failed {
        message: String,
        hint: Option<String>,
        code: u8,
    },
}

/// Marks the state directory of a container that runs detached.
const DETACHED: &str = "detached";

/// Returns what the user can do about a failure, if anything.
pub type Hint = fn(&Error) -> Option<String>;

/// Starts the container's command in the background, with its output in the container's log. Returns when the command is running, or
/// could not be started. The process must have one thread.
pub fn detach(mut container: Container, hint: Hint) -> Result<(), Error> {
    container.hold()?;
    let plan = container.plan()?;
    let failed = |errno: Errno| Error::system("start the monitor of the container", errno);
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    match sys::clone3(0, None).map_err(failed)? {
        Cloned::Child => {
            drop(reader);
            sys::exit(u8::from(stay(container, plan, writer, hint).is_err()))
        }
        Cloned::Parent { .. } => {
            drop(writer);
            container.hand_over();
            listen(reader)
        }
    }
}

fn listen(reader: OwnedFd) -> Result<(), Error> {
    let mut text = vec![];
    std::fs::File::from(reader)
        .read_to_end(&mut text)
        .map_err(|error| Error::system("read the report of the container's monitor", error))?;
    match serde_json::from_slice(&text) {
        Ok(StartReport::Running) => Ok(()),
        Ok(StartReport::Failed {
            message,
            hint,
            code,
        }) => Err(Error::Monitor {
            message,
            hint,
            code,
        }),
        Err(_) => {
            let message = "the monitor of the container was killed".to_owned();
            Err(Error::Monitor {
                message,
                hint: None,
                code: 125,
            })
        }
    }
}

/// Runs the monitor.
fn stay(container: Container, plan: Plan, writer: OwnedFd, hint: Hint) -> Result<Ended, Error> {
    let started = begin(container, plan);
    let report = match &started {
        Ok(_) => StartReport::Running,
        Err(error) => StartReport::Failed {
            message: error.to_string(),
            hint: hint(error),
            code: error.exit_code(),
        },
    };
    let text =
        serde_json::to_vec(&report).map_err(|error| Error::system("report the start", error))?;
    // The parent may have ended.
    std::fs::File::from(writer).write_all(&text).ok();
    drop((text, report));
    let (running, carried) = started?;
    // Released here, so that readers of the caller's pipes see the end, and its terminal is free.
    release_stdio().map_err(|errno| Error::system("release the caller's terminal", errno))?;
    // The log is complete before the end is recorded, as that is what other processes wait for.
    Ok(running.supervise(carried)?)
}

/// The container's standard streams: pipes for the log, and a terminal or an input that clients attach to.
struct Carried {
    log: Option<Writer>,
    pipes: Pipes,
    broadcast: Option<Broadcast>,
}

impl Streams for Carried {
    fn due(&mut self) -> Result<Option<Instant>, Errno> {
        Ok(self.broadcast.as_ref().and_then(Broadcast::due))
    }

    fn poll<'a>(&'a self, files: &mut Vec<PollFd<'a>>) {
        self.pipes.add_to_poll(files);
        if let Some(broadcast) = &self.broadcast {
            broadcast.add_to_poll(files);
        }
    }

    fn carry(&mut self, ready: &[PollFlags]) -> Result<Option<i32>, Errno> {
        let ready = self.pipes.handle(ready, &mut self.log)?;
        match &mut self.broadcast {
            Some(broadcast) => broadcast.handle(ready, &mut self.log),
            None => Ok(None),
        }
    }

    fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.broadcast.as_ref().and_then(Broadcast::terminal)
    }

    fn takes_memory(&self) -> bool {
        true
    }

    fn drain(&mut self) -> Result<(), Errno> {
        self.pipes.drain(&mut self.log)?;
        match &mut self.broadcast {
            Some(broadcast) => broadcast.drain(&mut self.log),
            None => Ok(()),
        }
    }
}

fn begin(container: Container, mut plan: Plan) -> Result<(Running<Container>, Carried), Error> {
    // Fails only for the leader of a process group, which a new process is not.
    rustix::process::setsid().map_err(|errno| Error::system("create a session", errno))?;
    sys::close_inherited()
        .map_err(|errno| Error::system("close the caller's descriptors", errno))?;
    let settings = container.record().options.log;
    let log = match settings.driver {
        Driver::K8sFile => Some(Writer::open(container.dir(), &settings)?),
        Driver::None | Driver::Passthrough => None,
    };
    let (mut pipes, mut input) = (Pipes::default(), None);
    if !plan.has_terminal() {
        (pipes, input) = connect_streams(&container, &mut plan)?;
    }
    let directory = container.state_directory();
    // Tells clients that the output of this run is in the log.
    let mark = directory.join(DETACHED);
    std::fs::File::create(&mark).map_err(|error| Error::io("create", &mark, error))?;
    let mut running = launch(container, plan)?;
    rustix::process::chdir(c"/").map_err(|errno| Error::io("change to", Path::new("/"), errno))?;
    // So that write(2) fails with EFBIG at the caller's limit of file sizes, and with EPIPE without a reader.
    let before = sys::set_signal_mask(u64::MAX).and_then(|before| {
        sys::set_signal_mask(before | signal(libc::SIGXFSZ) | signal(libc::SIGPIPE))
    });
    before.map_err(|errno| Error::system("block signals", errno))?;
    let terminal = running.take_terminal().map(End::Terminal);
    let broadcast = terminal
        .or(input.map(End::Input))
        .map(|end| Broadcast::new(end, &directory))
        .transpose()?;
    let carried = Carried {
        log,
        pipes,
        broadcast,
    };
    Ok((running, carried))
}

/// One bit of a signal mask.
fn signal(number: i32) -> u64 {
    1 << (number - 1)
}

/// Creates standard streams without a terminal. Returns box's ends of stdout and stderr, and of stdin if it stays open.
fn connect_streams(
    container: &Container,
    plan: &mut Plan,
) -> Result<(Pipes, Option<OwnedFd>), Error> {
    let options = &container.record().options;
    let failed = |errno: Errno| Error::system("create the pipes of the container", errno);
    let null = || tty::null().map_err(|errno| Error::io("open", Path::new("/dev/null"), errno));
    let owner = plan.host_user();
    let caller = |file: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(file, 3).map_err(failed);
    let (stdin, input) = match (options.interactive, options.log.driver) {
        (true, Driver::Passthrough) => (caller(rustix::stdio::stdin())?, None),
        (true, _) => {
            let (theirs, ours) = input_pipe(owner).map_err(failed)?;
            (theirs, Some(ours))
        }
        (false, _) => (null()?, None),
    };
    let (pipes, [stdout, stderr]) = match options.log.driver {
        Driver::K8sFile => Pipes::new(owner).map_err(failed)?,
        Driver::None => (Pipes::default(), [null()?, null()?]),
        Driver::Passthrough => {
            let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
            (Pipes::default(), [caller(stdout)?, caller(stderr)?])
        }
    };
    plan.with_stdio([stdin, stdout, stderr]);
    Ok((pipes, input))
}

/// Creates the pipe for stdin. Returns the container's end, and box's, which does not block.
fn input_pipe((uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd), Errno> {
    use rustix::fs::{Gid, Uid, fchown};
    let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(&ours)?;
    rustix::fs::fcntl_setfl(&ours, flags | OFlags::NONBLOCK)?;
    fchown(&theirs, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok((theirs, ours))
}

fn release_stdio() -> Result<(), Errno> {
    let null = tty::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}
