//! The process that stays with a detached container: it writes the log, lets people attach to the container's terminal or input,
//! records its end and cleans up. A copy of box without a terminal or session of its caller, with one thread.

mod broadcast;
mod streams;

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use super::guard::Guard;
use super::wait::QUIET_AFTER;
use super::{Ended, Running, Watch, launch};
use crate::logs::{Driver, Writer};
use crate::sys::process::{self as sys, Cloned};
use crate::{Error, Instance, Plan, tty};
use broadcast::{Broadcast, End};
pub(crate) use broadcast::{KEYS, LONGEST, SIZE, attach as connect};
use streams::Streams;

/// What the monitor tells the caller.
#[derive(Serialize, Deserialize)]
enum News {
    /// The command runs.
    Running,
    /// It could not be started.
    Failed {
        message: String,
        hint: Option<String>,
        code: u8,
    },
}

/// A file in the state directory of a container that runs detached.
pub(crate) const DETACHED: &str = "detached";

/// Starts the instance's command in the background: its output goes to the instance's log. Returns when it runs, or could not be
/// started. The process must have one thread.
pub fn detach(mut instance: Instance) -> Result<(), Error> {
    instance.hold()?;
    let plan = Plan::new(&instance)?;
    let failed =
        |errno: Errno| Error::system("make the process that stays with the container", errno);
    let (news, teller) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    match sys::clone3(0, None).map_err(failed)? {
        Cloned::Child => {
            drop(news);
            sys::exit(u8::from(stay(instance, plan, teller).is_err()))
        }
        Cloned::Parent { .. } => {
            drop(teller);
            instance.hand_over();
            listen(news)
        }
    }
}

fn listen(news: OwnedFd) -> Result<(), Error> {
    let mut text = vec![];
    std::fs::File::from(news)
        .read_to_end(&mut text)
        .map_err(|error| {
            Error::system("hear from the process that stays with the container", error)
        })?;
    match serde_json::from_slice(&text) {
        Ok(News::Running) => Ok(()),
        Ok(News::Failed {
            message,
            hint,
            code,
        }) => Err(Error::Told {
            message,
            hint,
            code,
        }),
        Err(_) => {
            let message = "the process that stays with the container was killed".to_owned();
            Err(Error::Told {
                message,
                hint: None,
                code: 125,
            })
        }
    }
}

/// The monitor's life.
fn stay(instance: Instance, plan: Plan, teller: OwnedFd) -> Result<Ended, Error> {
    let started = begin(instance, plan);
    let news = match &started {
        Ok(_) => News::Running,
        Err(error) => News::Failed {
            message: error.to_string(),
            hint: error.hint(),
            code: error.exit_code(),
        },
    };
    let text =
        serde_json::to_vec(&news).map_err(|error| Error::system("tell the caller", error))?;
    // A caller that is gone has nothing to be told.
    std::fs::File::from(teller).write_all(&text).ok();
    drop((text, news));
    let (running, ends) = started?;
    // Nothing of the caller is held any more: a pipe that somebody reads to its end, or a terminal.
    release_stdio().map_err(|errno| Error::system("let go of the caller's terminal", errno))?;
    let guard = Guard::stand(&running.watched())
        .map_err(|errno| Error::system("make the process that outlives this one", errno))?;
    running.watch_over(guard, ends)
}

/// What the monitor has of the container's standard streams.
struct Ends {
    log: Option<Writer>,
    streams: Streams,
    broadcast: Option<Broadcast>,
}

fn begin(instance: Instance, mut plan: Plan) -> Result<(Running, Ends), Error> {
    // Fails only for the leader of a process group, which a new process is not.
    rustix::process::setsid().map_err(|errno| Error::system("make a session", errno))?;
    sys::close_inherited()
        .map_err(|errno| Error::system("let go of the caller's descriptors", errno))?;
    let settings = instance.record().options.log;
    let log = match settings.driver {
        Driver::K8sFile => Some(Writer::open(instance.dir(), &settings)?),
        Driver::None | Driver::Passthrough => None,
    };
    let (mut streams, mut input) = (Streams::default(), None);
    if plan.terminal.is_none() {
        (streams, input) = connect_streams(&instance, &mut plan)?;
    }
    let directory = instance.state_directory();
    // Tells those who attach that the log is where its output goes this time.
    let mark = directory.join(DETACHED);
    std::fs::File::create(&mark).map_err(|error| Error::io("create", &mark, error))?;
    let mut running = launch(instance, plan)?;
    rustix::process::chdir(c"/").map_err(|errno| Error::io("change to", Path::new("/"), errno))?;
    // A limit on the size of files, which is the caller's, and a reader that is gone are for the calls to tell.
    let before = sys::set_signal_mask(u64::MAX).and_then(|before| {
        sys::set_signal_mask(before | signal(libc::SIGXFSZ) | signal(libc::SIGPIPE))
    });
    before.map_err(|errno| Error::system("block signals", errno))?;
    let terminal = running.container.terminal.take().map(End::Terminal);
    let broadcast = terminal
        .or(input.map(End::Input))
        .map(|end| Broadcast::new(end, &directory))
        .transpose()?;
    let ends = Ends {
        log,
        streams,
        broadcast,
    };
    Ok((running, ends))
}

/// One bit of a signal mask.
fn signal(number: i32) -> u64 {
    1 << (number - 1)
}

/// Standard streams without a terminal. Returns our ends: of stdout and stderr, and of stdin if it stays open.
fn connect_streams(
    instance: &Instance,
    plan: &mut Plan,
) -> Result<(Streams, Option<OwnedFd>), Error> {
    let options = &instance.record().options;
    let failed = |errno: Errno| Error::system("make the pipes of the container", errno);
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
    let (streams, [stdout, stderr]) = match options.log.driver {
        Driver::K8sFile => Streams::new(owner).map_err(failed)?,
        Driver::None => (Streams::default(), [null()?, null()?]),
        Driver::Passthrough => {
            let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
            (Streams::default(), [caller(stdout)?, caller(stderr)?])
        }
    };
    plan.stdio = Some([stdin, stdout, stderr]);
    Ok((streams, input))
}

/// The container's end, to read from, and ours, which never waits.
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

impl Running {
    /// Waits for the end, and cleans up.
    fn watch_over(self, guard: Guard, mut ends: Ends) -> Result<Ended, Error> {
        let failed = |errno: Errno| Error::system("wait for the container", errno);
        let mut watch = Watch {
            deadline: self.timeout.map(|limit| self.started + limit),
            guard: Some(guard),
            quiet: Some(self.started + QUIET_AFTER),
            ..Watch::default()
        };
        while !self.monitor_turn(&mut watch, &mut ends).map_err(failed)? {}
        // Before the end is recorded: whoever waits for that finds all of it in the log.
        ends.streams.drain(&mut ends.log).map_err(failed)?;
        if let Some(broadcast) = &mut ends.broadcast {
            broadcast.drain(&mut ends.log).map_err(failed)?;
        }
        drop(ends);
        self.finish(watch.forced, watch.timed_out)
    }

    /// Waits for one thing to happen and does what it takes. True when the container has ended.
    fn monitor_turn(&self, watch: &mut Watch, ends: &mut Ends) -> Result<bool, Errno> {
        let watched = self.watched();
        let mut files = vec![
            PollFd::from_borrowed_fd(watched.pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(watched.signals.as_fd(), PollFlags::IN),
        ];
        ends.streams.wants(&mut files);
        if let Some(broadcast) = &ends.broadcast {
            broadcast.wants(&mut files);
        }
        let stalled = ends.broadcast.as_ref().and_then(Broadcast::due);
        let due = watch.deadline.into_iter().chain(watch.quiet).chain(stalled);
        let left = due
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut files, left.as_ref()) {
            // Nothing but the time: what is due is done below.
            Ok(0) => {}
            // Not later because of what comes meanwhile: a container that always writes would keep this process large.
            Ok(_) | Err(Errno::INTR) => {
                watch
                    .quiet
                    .get_or_insert_with(|| Instant::now() + QUIET_AFTER);
            }
            Err(errno) => return Err(errno),
        }
        let ready: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
        drop(files);
        if !ready[0].is_empty() {
            return Ok(true);
        }
        if !ready[1].is_empty() {
            watched.forward(watch)?;
        }
        let ready = ends.streams.turn(&ready[2..], &mut ends.log)?;
        if let Some(broadcast) = &mut ends.broadcast
            && let Some(signal) = broadcast.turn(ready, &mut ends.log)?
            && let Some(master) = broadcast.terminal()
            && watched.is_deaf_job(master, signal)?
        {
            watched.signal(watch, signal)?;
        }
        watched.keep_time(watch)?;
        Ok(false)
    }
}

/// Borrowed for poll(2).
fn input(file: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(file, PollFlags::IN)
}
