//! Attached to the log of a container, and to its standard input.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use box_run::tty;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::stdin;

use super::{Outcome, Output, Session, TICK, dial};
use crate::logs::{Log, Stream};
use crate::monitor::socket::{KEYS, LONGEST};
use crate::{Container, Error};

impl Session<'_> {
    pub(super) fn at_log(
        &mut self,
        container: &Container,
        mut log: Option<Log>,
        output: &mut Output<'_>,
    ) -> Result<Outcome, Error> {
        let failed = |errno: Errno| Error::system(format!("attach to {}", container.name()), errno);
        let mut input = self.input(container)?;
        loop {
            let ended = self.live.wait(Some(Duration::ZERO))?;
            if let Some(log) = &mut log
                && output.copy(log)?.is_err()
            {
                return Ok(Outcome::Detached);
            }
            if ended {
                return Ok(Outcome::Ended);
            }
            let mut files = vec![
                PollFd::from_borrowed_fd(self.live.monitor(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            let away = input.is_some() && !tty::is_ours();
            let reading = input.as_ref().filter(|_| !away);
            if let Some(input) = reading {
                files.push(input.interest());
            }
            let watch = log.as_mut().map(Log::watched);
            files.extend(
                watch
                    .flatten()
                    .map(|watch| PollFd::from_borrowed_fd(watch, PollFlags::IN)),
            );
            // Without a watch, and as a background job: polls ten times a second.
            let look_again = away || matches!(watch, Some(None));
            match poll(&mut files, look_again.then_some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
            let signalled = !files[1].revents().is_empty();
            let typed = reading.is_some() && !files[2].revents().is_empty();
            drop(files);
            if let Some(log) = &log {
                log.clear_watch();
            }
            if signalled && self.forward(None).map_err(failed)? {
                return Ok(Outcome::Detached);
            }
            if typed
                && let Some(open) = &mut input
                && !open.pass_on().map_err(failed)?
            {
                input = None;
            }
        }
    }

    /// Connects to the container's stdin, if it stays open.
    fn input(&mut self, container: &Container) -> Result<Option<Input>, Error> {
        if !self.writing || !container.record().options.interactive {
            return Ok(None);
        }
        let Some(socket) = dial(container)? else {
            return Ok(None);
        };
        let failed = |errno| Error::system("attach to the container's input", errno);
        let flags = rustix::fs::fcntl_getfl(&socket).map_err(failed)?;
        rustix::fs::fcntl_setfl(&socket, flags | OFlags::NONBLOCK).map_err(failed)?;
        Ok(Some(Input {
            socket,
            message: vec![],
        }))
    }
}

/// Passes the standard input of box to the container, through its monitor.
struct Input {
    socket: OwnedFd,
    /// A message that the monitor has not read yet.
    message: Vec<u8>,
}

impl Input {
    fn interest(&self) -> PollFd<'_> {
        match self.message.is_empty() {
            true => PollFd::from_borrowed_fd(stdin(), PollFlags::IN),
            false => PollFd::new(&self.socket, PollFlags::OUT),
        }
    }

    /// Reads or sends. Returns false if the input has ended, or the container does not take it any more.
    fn pass_on(&mut self) -> Result<bool, Errno> {
        if self.message.is_empty() {
            let mut buffer = [0u8; LONGEST];
            buffer[0] = KEYS;
            match rustix::io::read(stdin(), &mut buffer[1..]) {
                Ok(0) | Err(Errno::IO) => return Ok(false),
                Ok(length) => self.message.extend_from_slice(&buffer[..=length]),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
                Err(errno) => return Err(errno),
            }
        }
        match send(&self.socket, &self.message, SendFlags::NOSIGNAL) {
            Ok(_) => {
                self.message.clear();
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl Output<'_> {
    /// Writes the records of a log, each stream to its output.
    fn copy(&mut self, log: &mut Log) -> Result<std::io::Result<()>, Error> {
        let written = log.read(&mut |record| {
            let out = match record.stream {
                Stream::Stdout => &mut self.out,
                Stream::Stderr => &mut self.err,
            };
            out.write_all(record.text)?;
            if record.complete {
                out.write_all(b"\n")?;
            }
            out.flush()
        })?;
        Ok(written)
    }
}
