//! `box attach`: a person at a detached container. With a terminal of its own, what they type and see goes through its monitor;
//! without one they see what is added to its log, and with `--interactive` write to its standard input.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio::stdin;

use crate::instance::Live;
use crate::logs::Log;
use crate::process::{DETACHED, KEYS, LONGEST, SIZE, STDIN, connect};
use crate::signals::Forwarding;
use crate::tty::{self, RawMode};
use crate::{Error, Instance};

/// What the person wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is typed goes to the container.
    pub stdin: bool,
    /// Signals that box gets go to the container.
    pub forward_signals: bool,
    /// The keys that leave the container alone, on a terminal.
    pub detach_keys: Vec<u8>,
}

/// Control-P, Control-Q.
pub const DETACH_KEYS: [u8; 2] = [16, 17];

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The container has ended.
    Ended,
    /// The person typed the keys for this.
    Detached,
}

/// Connects a person to the running container; returns when it has ended, or they leave.
pub fn attach(instance: &Instance, options: &Options, out: &mut dyn Write) -> Result<Left, Error> {
    let live = instance.live()?;
    let spec = instance.spec()?;
    let failed = |errno: Errno| Error::system(format!("attach to {}", instance.name()), errno);
    let signals = match options.forward_signals {
        true => Forwarding::to_container(),
        false => Forwarding::to_command(),
    };
    let signals = signals.map_err(failed)?;
    let terminal = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let log = instance.log()?;
    match (terminal, log) {
        (true, _) => {
            let socket = match connect(&instance.state_directory()) {
                Ok(socket) => socket,
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Err(foreground(instance));
                }
                Err(error) => return Err(error),
            };
            let mut person = Person {
                live,
                signals,
                options,
                matched: 0,
                writing: options.stdin,
            };
            person.at_terminal(&socket, out).map_err(failed)
        }
        (false, Some(mut log)) if instance.state_directory().join(DETACHED).exists() => {
            log.seek_to_end()?;
            let person = Person {
                live,
                signals,
                options,
                matched: 0,
                writing: options.stdin,
            };
            person.at_log(instance, log, out)
        }
        (false, _) => Err(foreground(instance)),
    }
}

fn foreground(instance: &Instance) -> Error {
    Error::Attached {
        name: instance.name().to_owned(),
    }
}

struct Person<'a> {
    live: Live,
    signals: Forwarding,
    options: &'a Options,
    /// How many of the keys to leave have been typed.
    matched: usize,
    writing: bool,
}

impl Person<'_> {
    fn at_terminal(&mut self, socket: &OwnedFd, out: &mut dyn Write) -> Result<Left, Errno> {
        let raw = if self.writing {
            RawMode::enter()?
        } else {
            None
        };
        send_size(socket)?;
        loop {
            let mut files = vec![
                PollFd::new(socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            if self.writing && tty::is_ours() {
                files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
            match poll(&mut files, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let ready: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
            if !ready[0].is_empty() {
                let mut buffer = [0u8; 16384];
                match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((0, _)) | Err(Errno::CONNRESET) => break,
                    // Nobody reads it any more: as with a terminal that hung up, the container goes on.
                    Ok((length, _))
                        if out
                            .write_all(&buffer[..length])
                            .and_then(|()| out.flush())
                            .is_err() =>
                    {
                        return Ok(Left::Detached);
                    }
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if !ready[1].is_empty() && self.forward(Some((socket, raw.as_ref())))? {
                return Ok(Left::Detached);
            }
            if ready.get(2).is_some_and(|ready| !ready.is_empty()) && self.type_to(socket)? {
                return Ok(Left::Detached);
            }
        }
        drop(raw);
        Ok(Left::Ended)
    }

    /// True: the keys to leave were typed.
    fn type_to(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        let mut buffer = [0u8; LONGEST];
        buffer[0] = KEYS;
        let length = match rustix::io::read(stdin(), &mut buffer[1..]) {
            Ok(0) | Err(Errno::IO) => {
                self.writing = false;
                return Ok(false);
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        for key in &buffer[1..=length] {
            let keys = &self.options.detach_keys;
            self.matched = match keys.get(self.matched) {
                Some(expected) if expected == key => self.matched + 1,
                _ => usize::from(keys.first() == Some(key)),
            };
            if !keys.is_empty() && self.matched == keys.len() {
                return Ok(true);
            }
        }
        match send(socket, &buffer[..=length], SendFlags::NOSIGNAL) {
            // The end shows on the next read.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// True: a signal is for us alone, and we leave.
    fn forward(&self, terminal: Option<(&OwnedFd, Option<&RawMode>)>) -> Result<bool, Errno> {
        while let Some(signal) = self.signals.next()? {
            match (signal, terminal) {
                (libc::SIGWINCH, Some((socket, _))) => send_size(socket)?,
                (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, Some((_, raw))) => {
                    raw.map_or(Ok(()), RawMode::stop)?;
                }
                (libc::SIGCONT, Some((socket, raw))) => {
                    send_size(socket)?;
                    raw.map_or(Ok(()), RawMode::resume)?;
                }
                (libc::SIGWINCH | libc::SIGCONT, None) if !self.options.forward_signals => {}
                _ if self.options.forward_signals => {
                    // It may have ended this moment.
                    self.live.signal(signal).ok();
                }
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    fn at_log(
        mut self,
        instance: &Instance,
        mut log: Log,
        out: &mut dyn Write,
    ) -> Result<Left, Error> {
        let failed = |errno: Errno| Error::system(format!("attach to {}", instance.name()), errno);
        let mut input = self.input(instance)?;
        loop {
            let ended = self.live.wait(Some(Duration::ZERO))?;
            if log.copy(out)?.and_then(|()| out.flush()).is_err() {
                return Ok(Left::Detached);
            }
            if ended {
                return Ok(Left::Ended);
            }
            let mut files = vec![
                PollFd::from_borrowed_fd(self.live.monitor(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            let watch = log.watched()?;
            if let Some(watch) = watch {
                files.push(PollFd::from_borrowed_fd(watch, PollFlags::IN));
            }
            let reading = input.is_some() && tty::is_ours();
            if reading {
                files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
            // Without a watch, a look ten times a second.
            let tick = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            match poll(&mut files, watch.is_none().then_some(&tick)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
            let signalled = !files[1].revents().is_empty();
            let typed = reading && files.last().is_some_and(|file| !file.revents().is_empty());
            drop(files);
            log.clear_watch();
            if signalled && self.forward(None).map_err(failed)? {
                return Ok(Left::Detached);
            }
            if typed
                && let Some(fifo) = &mut input
                && !self.pass_on(fifo).map_err(failed)?
            {
                input = None;
            }
        }
    }

    /// The container's standard input, if it has one that stays open.
    fn input(&mut self, instance: &Instance) -> Result<Option<File>, Error> {
        if !self.writing || !instance.record().options.interactive {
            return Ok(None);
        }
        let path = instance.state_directory().join(STDIN);
        let fifo = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        fifo.map(|fifo| Some(fifo.into()))
            .map_err(|errno| Error::io("open", &path, errno))
    }

    /// False: our input has ended.
    fn pass_on(&self, fifo: &mut File) -> Result<bool, Errno> {
        let mut buffer = [0u8; LONGEST];
        match rustix::io::read(stdin(), &mut buffer[..]) {
            Ok(0) | Err(Errno::IO) => Ok(false),
            Ok(length) => Ok(fifo.write_all(&buffer[..length]).is_ok()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(errno) => Err(errno),
        }
    }
}

fn send_size(socket: &OwnedFd) -> Result<(), Errno> {
    let Some(size) = tty::caller_size() else {
        return Ok(());
    };
    let (rows, columns) = (size.ws_row.to_ne_bytes(), size.ws_col.to_ne_bytes());
    match send(
        socket.as_fd(),
        &[SIZE, rows[0], rows[1], columns[0], columns[1]],
        SendFlags::NOSIGNAL,
    ) {
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno),
    }
}
