//! The process that stays with a detached container: it notes when the container wrote what, lets people attach to its terminal,
//! records its end and cleans up. A copy of box without a terminal or session of its caller, with one thread.

mod broadcast;

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use super::guard::Guard;
use super::wait::QUIET_AFTER;
use super::{Ended, Running, Watch, launch};
use crate::logs::{self, Recorder};
use crate::sys::process::{self as sys, Cloned};
use crate::{Error, Instance, Plan, tty};
use broadcast::Broadcast;
pub(crate) use broadcast::{KEYS, LONGEST, SIZE, attach as connect};

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

/// The FIFO in the state directory that is the container's standard input, with `--interactive`.
pub(crate) const STDIN: &str = "stdin";

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
    let (mut running, recorder) = started?;
    let master = running.container.terminal.take();
    let directory = running.instance().state_directory();
    let log = running.instance().dir().to_owned();
    let broadcast = master
        .map(|master| Broadcast::new(master, &directory, &log))
        .transpose()?;
    // Nothing of the caller is held any more: a pipe that somebody reads to its end, or a terminal.
    release_stdio().map_err(|errno| Error::system("let go of the caller's terminal", errno))?;
    let guard = Guard::stand(&running.watched())
        .map_err(|errno| Error::system("make the process that outlives this one", errno))?;
    running.watch_over(guard, recorder, broadcast)
}

fn begin(instance: Instance, mut plan: Plan) -> Result<(Running, Recorder), Error> {
    // Fails only for the leader of a process group, which a new process is not.
    rustix::process::setsid().map_err(|errno| Error::system("make a session", errno))?;
    sys::close_inherited()
        .map_err(|errno| Error::system("let go of the caller's descriptors", errno))?;
    let output = logs::create(instance.dir())?;
    let recorder = Recorder::open(instance.dir())?;
    if plan.terminal.is_none() {
        let copy = || {
            output
                .try_clone()
                .map_err(|error| Error::system("copy a descriptor", error))
        };
        plan.stdio = Some([stdin(&instance)?, copy()?, copy()?]);
    }
    // Tells those who attach that the log is where its output goes this time.
    let mark = instance.state_directory().join(DETACHED);
    std::fs::File::create(&mark).map_err(|error| Error::io("create", &mark, error))?;
    let running = launch(instance, plan)?;
    rustix::process::chdir(c"/").map_err(|errno| Error::io("change to", Path::new("/"), errno))?;
    Ok((running, recorder))
}

/// What the command reads: nothing, or what those who attach write.
fn stdin(instance: &Instance) -> Result<OwnedFd, Error> {
    if !instance.record().options.interactive {
        return tty::null().map_err(|errno| Error::io("open", Path::new("/dev/null"), errno));
    }
    let path = instance.state_directory().join(STDIN);
    let failed = |errno| Error::io("make the FIFO", &path, errno);
    // Any user of the container may open /dev/stdin; nobody else gets into this directory.
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0)
        .and_then(|()| rustix::fs::chmod(&path, mode))
        .map_err(failed)?;
    // Open for writing as well, so that the end of one writer is not the end of the input. Mode and owner stay ours.
    let name = crate::mounts::c_string(path.as_os_str().as_encoded_bytes())?;
    crate::nodes::open_unchangeable(&name).map_err(failed)
}

fn release_stdio() -> Result<(), Errno> {
    let null = tty::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}

/// Signal 29 alone.
const SIGIO: u64 = 1 << (libc::SIGIO - 1);

impl Running {
    /// Waits for the end, and cleans up.
    fn watch_over(
        self,
        guard: Guard,
        recorder: Recorder,
        mut broadcast: Option<Broadcast>,
    ) -> Result<Ended, Error> {
        let failed = |errno: Errno| Error::system("wait for the container", errno);
        let mut watch = Watch {
            deadline: self.timeout.map(|limit| self.started + limit),
            guard: Some(guard),
            quiet: Some(self.started + QUIET_AFTER),
            ..Watch::default()
        };
        let mut clock = Clock::start(recorder).map_err(failed)?;
        while !self
            .monitor_turn(&mut watch, &mut clock, broadcast.as_mut())
            .map_err(failed)?
        {}
        if let Some(broadcast) = &mut broadcast {
            broadcast.drain().map_err(failed)?;
        }
        clock.note();
        drop(broadcast);
        self.finish(watch.forced, watch.timed_out)
    }

    /// Waits for one thing to happen and does what it takes. True when the container has ended.
    fn monitor_turn(
        &self,
        watch: &mut Watch,
        clock: &mut Clock,
        broadcast: Option<&mut Broadcast>,
    ) -> Result<bool, Errno> {
        let watched = self.watched();
        let mut files = vec![
            PollFd::from_borrowed_fd(watched.pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(watched.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(clock.changes.as_fd(), PollFlags::IN),
        ];
        if let Some(broadcast) = &broadcast {
            broadcast.wants(&mut files);
        }
        let due = [watch.deadline, clock.due, watch.quiet]
            .into_iter()
            .flatten()
            .min();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut files, left.as_ref()) {
            // Nothing but the time: what is due is done below.
            Ok(0) => {}
            Ok(_) | Err(Errno::INTR) => watch.quiet = Some(Instant::now() + QUIET_AFTER),
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
        clock.turn(!ready[2].is_empty());
        if let Some(broadcast) = broadcast
            && let Some(signal) = broadcast.turn(&ready[3..])?
            && watched.is_deaf_job(broadcast.master(), signal)?
        {
            watched.signal(watch, signal)?;
        }
        watched.keep_time(watch)?;
        Ok(false)
    }
}

/// When the log grew.
struct Clock {
    recorder: Recorder,
    changes: OwnedFd,
    /// The next note may be taken from then on.
    due: Option<Instant>,
}

impl Clock {
    fn start(recorder: Recorder) -> Result<Self, Errno> {
        let before = sys::set_signal_mask(u64::MAX)?;
        sys::set_signal_mask(before | SIGIO)?;
        let mut clock = Self {
            recorder,
            changes: sys::signalfd(SIGIO)?,
            due: None,
        };
        clock.arm();
        Ok(clock)
    }

    fn turn(&mut self, changed: bool) {
        if changed {
            let mut information = [0u8; 128];
            while rustix::io::read(&self.changes, &mut information[..]).is_ok() {}
            self.note();
            self.due = Some(Instant::now() + Recorder::pause());
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            self.arm();
        }
    }

    /// Waits for the next write. What was written since the last note is noted at once.
    fn arm(&mut self) {
        if let Err(errno) = self.recorder.watch() {
            // A kernel without dnotify: a look now and then.
            tracing::debug!(%errno, "the log cannot be watched");
            self.due = Some(Instant::now() + Duration::from_secs(1));
        }
        if self.note() && self.due.is_none() {
            self.due = Some(Instant::now() + Recorder::pause());
        }
    }

    /// Without room on the disk lines have no time; that is no reason to end.
    fn note(&mut self) -> bool {
        self.recorder.note().unwrap_or(false)
    }
}

/// For the broadcast: opens the log once more.
fn open_log(instance: &Path) -> Result<std::fs::File, Error> {
    logs::create(instance).map(Into::into)
}

/// Borrowed for poll(2).
fn input(file: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(file, PollFlags::IN)
}
