//! Waits for the end of a container in the foreground: passes signals and terminal data on, and keeps its time limit.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::stdin;

use super::guard::Guard;
use super::{Ended, Running};
use crate::Error;
use crate::cgroup::Cgroup;
use crate::signals::{Forwarding, Request, would_be_lost};
use crate::sys::{memory, process as sys};
use crate::tty::{self, RawMode, Relay};

/// How long a container may take to obey the TERM of its time limit, if nothing else was asked for.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// How long there was nothing to do before memory is given back.
pub(crate) const QUIET_AFTER: Duration = Duration::from_millis(100);

/// How long until it is tried again, where that failed.
const GUARD_AGAIN: Duration = Duration::from_secs(1);

/// What the waiting has found out so far.
#[derive(Default)]
pub(crate) struct Watch {
    /// The caller's terminal, if the process has one of its own.
    pub(crate) raw: Option<RawMode>,
    pub(crate) relay: Option<Relay>,
    pub(crate) deadline: Option<Instant>,
    /// When to give back the memory that the start took, and to set a guard up; a short command is over before.
    pub(crate) quiet: Option<Instant>,
    /// Ends the container if box is killed.
    pub(crate) guard: Option<Guard>,
    /// The deadline has passed once: TERM is sent, the next one is KILL.
    pub(crate) timed_out: bool,
    /// The signal for which the container was killed.
    pub(crate) forced: Option<i32>,
}

/// A process that is watched: the first one of a container, or one that joined it.
#[derive(Clone, Copy)]
pub(crate) struct Watched<'a> {
    pub(crate) pid: i32,
    pub(crate) pidfd: BorrowedFd<'a>,
    pub(crate) signals: &'a Forwarding,
    /// `None` for one that joined: its group is the container's.
    pub(crate) group: Option<&'a Cgroup>,
    pub(crate) kill_after: Option<Duration>,
}

impl Running {
    /// Waits for the end, passing signals and terminal data on meanwhile, and cleans up.
    pub fn wait(mut self) -> Result<Ended, Error> {
        let failed = |errno: Errno| Error::system("wait for the container", errno);
        let terminal = self.container.terminal.take();
        let raw = match &terminal {
            Some(_) => RawMode::enter().map_err(failed)?,
            None => None,
        };
        let mut watch = Watch {
            raw,
            relay: terminal.map(Relay::new).transpose().map_err(failed)?,
            deadline: self.timeout.map(|limit| self.started + limit),
            quiet: Some(self.started + QUIET_AFTER),
            ..Watch::default()
        };
        while !self.watched().turn(&mut watch).map_err(failed)? {}
        if let Some(relay) = &mut watch.relay {
            relay.drain().map_err(failed)?;
        }
        drop(watch.raw.take());
        self.finish(watch.forced, watch.timed_out)
    }

    /// The first process, for the loop that waits for it.
    pub(super) fn watched(&self) -> Watched<'_> {
        Watched {
            pid: self.pid(),
            pidfd: self.pidfd(),
            signals: &self.container.signals,
            group: self.cgroup(),
            kill_after: self.kill_after,
        }
    }
}

impl Watch {
    /// Takes the caller's terminal if box has come to the foreground. When to look again, if it is not there.
    fn catch_up(&self) -> Result<Option<Instant>, Errno> {
        let (Some(raw), Some(relay)) = (&self.raw, &self.relay) else {
            return Ok(None);
        };
        if raw.catch_up()? {
            tty::copy_size(relay.master())?;
        }
        Ok(raw.is_away().then(|| Instant::now() + tty::LOOK_AGAIN))
    }
}

impl Watched<'_> {
    /// Waits for one thing to happen and does what it takes. True when the container has ended.
    pub(crate) fn turn(&self, watch: &mut Watch) -> Result<bool, Errno> {
        let child = self.pidfd;
        let signals = self.signals.as_fd();
        let look_again = watch.catch_up()?;
        let mut files = vec![
            PollFd::from_borrowed_fd(child, PollFlags::IN),
            PollFd::from_borrowed_fd(signals, PollFlags::IN),
        ];
        let mut places = (None, None);
        if let Some(relay) = watch.relay.as_ref().filter(|relay| relay.is_open()) {
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, relay.wants_to_write());
            places.0 = Some(files.len());
            files.push(PollFd::from_borrowed_fd(relay.master(), wanted));
            if relay.wants_input() {
                places.1 = Some(files.len());
                files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
        }
        let end = watch.relay.as_ref().and_then(Relay::next_end);
        let next = watch.deadline.into_iter().chain(watch.quiet);
        let next = next.chain(end).chain(look_again).min();
        let left = next.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut files, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
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
        self.relay(
            watch,
            places.0.map(|place| ready[place]),
            places.1.map(|place| ready[place]),
        )?;
        self.keep_time(watch)?;
        Ok(false)
    }

    pub(super) fn forward(&self, watch: &mut Watch) -> Result<(), Errno> {
        while let Some(request) = self.signals.next_request()? {
            let signal = match request {
                Request::Signal(signal) => signal,
                Request::End(signal) => {
                    self.end(watch, signal)?;
                    continue;
                }
            };
            match (signal, &watch.relay) {
                (libc::SIGWINCH, Some(relay)) => tty::copy_size(relay.master())?,
                // Keys of the caller's terminal that stop a job go to the one inside; these are for box.
                (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, Some(_)) => {
                    if let Some(raw) = &watch.raw {
                        raw.stop()?;
                    }
                }
                (libc::SIGCONT, Some(relay)) => {
                    tty::copy_size(relay.master())?;
                    if let Some(raw) = &watch.raw {
                        raw.resume()?;
                    }
                    self.signal(watch, signal)?;
                }
                _ => self.signal(watch, signal)?,
            }
        }
        Ok(())
    }

    /// Sends a signal, or ends the container where the signal would end any process but this one.
    pub(super) fn signal(&self, watch: &mut Watch, signal: i32) -> Result<(), Errno> {
        if would_be_lost(self.pid, signal) {
            return self.end(watch, signal);
        }
        self.send(signal)
    }

    /// Ends the container as if the signal had.
    fn end(&self, watch: &mut Watch, signal: i32) -> Result<(), Errno> {
        watch.forced = watch.forced.or(Some(signal));
        self.send(libc::SIGKILL)
    }

    fn send(&self, signal: i32) -> Result<(), Errno> {
        match sys::send_signal(self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn relay(
        &self,
        watch: &mut Watch,
        master: Option<PollFlags>,
        input: Option<PollFlags>,
    ) -> Result<(), Errno> {
        let Some(relay) = &mut watch.relay else {
            return Ok(());
        };
        relay.repeat_end()?;
        if let Some(ready) = master {
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                relay.read_output()?;
            }
            if ready.contains(PollFlags::OUT) {
                relay.write_input()?;
            }
        }
        if input.is_some_and(|ready| !ready.is_empty()) {
            let typed = relay.read_input()?;
            let signal = typed.iter().find_map(|key| match *key {
                3 => Some(libc::SIGINT),
                28 => Some(libc::SIGQUIT),
                _ => None,
            });
            relay.write_input()?;
            if let Some(signal) = signal
                && self.is_deaf_job(relay.master(), signal)?
            {
                self.signal(watch, signal)?;
            }
        }
        Ok(())
    }

    /// Whether a key of the terminal has just sent `signal` to PID 1, which cannot hear it.
    pub(super) fn is_deaf_job(&self, master: BorrowedFd<'_>, signal: i32) -> Result<bool, Errno> {
        use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};
        let modes = tcgetattr(master)?.local_modes;
        let job = tcgetpgrp(master).map(|job| job.as_raw_nonzero().get());
        Ok(modes.contains(LocalModes::ISIG)
            && job == Ok(self.pid)
            && would_be_lost(self.pid, signal))
    }

    pub(super) fn keep_time(&self, watch: &mut Watch) -> Result<(), Errno> {
        if watch.quiet.is_some_and(|quiet| Instant::now() >= quiet) {
            watch.quiet = None;
            if watch.guard.is_none() {
                match Guard::stand(self) {
                    Ok(guard) => watch.guard = Some(guard),
                    // No room for one more process is no reason to end those that run.
                    Err(errno) => {
                        tracing::debug!(%errno, "no guard yet");
                        watch.quiet = Some(Instant::now() + GUARD_AGAIN);
                    }
                }
            }
            memory::release()?;
        }
        if watch
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline)
        {
            return Ok(());
        }
        let again = std::mem::replace(&mut watch.timed_out, true);
        watch.deadline = (!again).then(|| Instant::now() + self.kill_after.unwrap_or(KILL_AFTER));
        self.signal(watch, if again { libc::SIGKILL } else { libc::SIGTERM })
    }
}
