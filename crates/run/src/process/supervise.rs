//! The one loop that waits for a process of a container: in the foreground, in a monitor, and for a process that joined.
//!
//! It forwards signals, has the standard streams carried ([`Streams`]), enforces the time limit, and sets up a guard in case box is
//! killed.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::guard::Guard;
use super::supervised::Supervised;
use crate::signals::{Request, is_lost_key, would_be_lost};
use crate::sys::{memory, process as sys};

/// Default delay between the SIGTERM of a time limit and SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// Idle time after which memory is released.
const QUIET_AFTER: Duration = Duration::from_millis(100);

/// Delay before another attempt to start a guard.
const GUARD_AGAIN: Duration = Duration::from_secs(1);

/// The standard streams of a process that box carries.
pub trait Streams {
    /// Called before each wait. Returns when to wake up at the latest.
    fn due(&mut self) -> Result<Option<Instant>, Errno> {
        Ok(None)
    }

    /// Adds the files to wait for.
    fn poll<'a>(&'a self, files: &mut Vec<PollFd<'a>>);

    /// Carries the data that is ready. `ready` holds the results for the files that [`poll`](Self::poll) added, in their order.
    /// Returns the signal that a typed key of the process' terminal stands for, if any.
    fn carry(&mut self, ready: &[PollFlags]) -> Result<Option<i32>, Errno>;

    /// The master side of the process' terminal, if it has one.
    fn terminal(&self) -> Option<BorrowedFd<'_>>;

    /// Handles a signal that is about to be forwarded. Returns true if it was for the streams, and must not be forwarded.
    fn signal(&mut self, _signal: i32) -> Result<bool, Errno> {
        Ok(false)
    }

    /// Whether carrying data takes memory that is worth releasing after each idle period.
    fn takes_memory(&self) -> bool {
        false
    }

    /// Carries the remaining data once the process has ended.
    fn drain(&mut self) -> Result<(), Errno>;
}

/// What the loop did to end the process.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The signal in whose place it was killed.
    pub forced: Option<i32>,
    /// Its time limit was exceeded.
    pub timed_out: bool,
}

/// The state of the loop.
struct Watch<'s> {
    streams: &'s mut dyn Streams,
    deadline: Option<Instant>,
    /// When to release the memory that the start took and to set up a guard. A short command ends before that.
    quiet: Option<Instant>,
    /// Ends the container if box is killed.
    guard: Option<Guard>,
    verdict: Verdict,
}

impl Supervised<'_> {
    /// Waits for the end. A guard that exists already is dropped then.
    pub fn wait(&self, guard: Option<Guard>, streams: &mut dyn Streams) -> Result<Verdict, Errno> {
        let mut watch = Watch {
            streams,
            deadline: self.deadline,
            quiet: Some(Instant::now() + QUIET_AFTER),
            guard,
            verdict: Verdict::default(),
        };
        while !self.turn(&mut watch)? {}
        watch.streams.drain()?;
        Ok(watch.verdict)
    }

    /// Waits for one event and handles it. Returns true when the process has ended.
    fn turn(&self, watch: &mut Watch<'_>) -> Result<bool, Errno> {
        let due = watch.streams.due()?;
        let mut files = vec![
            PollFd::from_borrowed_fd(self.pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        watch.streams.poll(&mut files);
        let next = watch.deadline.into_iter().chain(watch.quiet).chain(due);
        match poll(&mut files, time_until(next.min()).as_ref()) {
            // A timeout: the due work is done below.
            Ok(0) => {}
            // The deadline is not moved by later events: a container that writes all the time would keep this process large.
            Ok(_) | Err(Errno::INTR) => {
                if watch.streams.takes_memory() {
                    let quiet = || Instant::now() + QUIET_AFTER;
                    watch.quiet.get_or_insert_with(quiet);
                }
            }
            Err(errno) => return Err(errno),
        }
        let ready: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
        drop(files);
        if !ready[0].is_empty() {
            return Ok(true);
        }
        if !ready[1].is_empty() {
            self.forward(watch)?;
        }
        if let Some(signal) = watch.streams.carry(&ready[2..])?
            && let Some(master) = watch.streams.terminal()
            && is_lost_key(self.pid, master, signal)?
        {
            self.signal(watch, signal)?;
        }
        self.keep_time(watch)?;
        Ok(false)
    }

    fn forward(&self, watch: &mut Watch<'_>) -> Result<(), Errno> {
        while let Some(request) = self.signals.next_request()? {
            match request {
                Request::Signal(signal) if watch.streams.signal(signal)? => {}
                Request::Signal(signal) => self.signal(watch, signal)?,
                Request::End(signal) => self.end(watch, signal)?,
            }
        }
        Ok(())
    }

    /// Sends a signal, or kills the container if the signal would end any process but PID 1.
    fn signal(&self, watch: &mut Watch<'_>, signal: i32) -> Result<(), Errno> {
        if would_be_lost(self.pid, signal) {
            return self.end(watch, signal);
        }
        self.send(signal)
    }

    /// Kills the container as if the signal had ended it.
    fn end(&self, watch: &mut Watch<'_>, signal: i32) -> Result<(), Errno> {
        watch.verdict.forced = watch.verdict.forced.or(Some(signal));
        self.send(libc::SIGKILL)
    }

    fn send(&self, signal: i32) -> Result<(), Errno> {
        match sys::send_signal(self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn keep_time(&self, watch: &mut Watch<'_>) -> Result<(), Errno> {
        let now = Instant::now();
        if watch.quiet.is_some_and(|quiet| now >= quiet) {
            watch.quiet = None;
            if watch.guard.is_none() {
                match Guard::stand(self) {
                    Ok(guard) => watch.guard = Some(guard),
                    // Failing to start one more process is no reason to end the running ones.
                    Err(errno) => {
                        tracing::debug!(%errno, "no guard yet");
                        watch.quiet = Some(Instant::now() + GUARD_AGAIN);
                    }
                }
            }
            memory::release()?;
        }
        if watch.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let again = std::mem::replace(&mut watch.verdict.timed_out, true);
        watch.deadline = (!again).then(|| Instant::now() + self.kill_after.unwrap_or(KILL_AFTER));
        self.signal(watch, if again { libc::SIGKILL } else { libc::SIGTERM })
    }
}

fn time_until(moment: Option<Instant>) -> Option<Timespec> {
    let left = moment?.saturating_duration_since(Instant::now());
    Some(Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: left.subsec_nanos().into(),
    })
}
