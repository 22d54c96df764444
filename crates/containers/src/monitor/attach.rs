//! `box attach`: a person at a detached container. With a terminal of its own, what they type and see goes through its monitor;
//! without one they see what is added to its log, and with `--interactive` type to its standard input. Nobody waits for a
//! container that does not read.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio::stdin;

use super::DETACHED;
use super::broadcast::{KEYS, LONGEST, SIZE, attach as connect};
use crate::container::Live;
use crate::logs::{Log, Stream};
use crate::{Container, Error};
use box_run::signals::Forwarding;
use box_run::tty::{self, RawMode};

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

/// How long to wait for what says nothing when it happens.
const TICK: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: tty::LOOK_AGAIN.subsec_nanos() as i64,
};

/// Control-P, Control-Q.
pub const DETACH_KEYS: [u8; 2] = [16, 17];

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The container has ended.
    Ended,
    /// The person typed the keys for this.
    Detached,
    /// They did not read what the container's terminal printed.
    Behind,
}

/// Where the container's output goes.
pub struct Output<'a> {
    /// What it writes to stdout, or to its terminal.
    pub out: &'a mut dyn Write,
    /// What it writes to stderr.
    pub err: &'a mut dyn Write,
}

/// Connects a person to the running container; returns when it has ended, or they leave.
pub fn attach(
    container: &Container,
    options: &Options,
    output: &mut Output<'_>,
) -> Result<Left, Error> {
    let live = container.live()?;
    let spec = container.spec()?;
    let failed = |errno: Errno| Error::system(format!("attach to {}", container.name()), errno);
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
    let mut person = Person {
        live,
        signals,
        options,
        matched: 0,
        writing: options.stdin,
    };
    if terminal {
        return match dial(container)? {
            Some(socket) => person.at_terminal(&socket, output.out).map_err(failed),
            None => Err(foreground(container)),
        };
    }
    if !container.state_directory().join(DETACHED).exists() {
        return Err(foreground(container));
    }
    // One that was last started in the foreground, or has no log, shows nothing.
    let mut log = container.log()?;
    if let Some(log) = &mut log {
        log.watch();
        log.seek_to_end()?;
    }
    person.at_log(container, log, output)
}

/// The monitor's socket. `None`: there is none.
fn dial(container: &Container) -> Result<Option<OwnedFd>, Error> {
    match connect(&container.state_directory()) {
        Ok(socket) => Ok(Some(socket)),
        Err(Error::Run(box_run::Error::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn foreground(container: &Container) -> Error {
    Error::Attached {
        name: container.name().to_owned(),
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
            if raw.as_ref().map_or(Ok(false), RawMode::catch_up)? {
                send_size(socket)?;
            }
            let away = raw.as_ref().is_some_and(RawMode::is_away);
            let mut files = vec![
                PollFd::new(socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            if self.writing && !away {
                files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
            match poll(&mut files, away.then_some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let ready: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
            if !ready[0].is_empty() {
                let mut buffer = [0u8; 16384];
                match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((0, _)) | Err(Errno::CONNRESET) if !self.is_ending()? => {
                        return Ok(Left::Behind);
                    }
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

    /// Whether the container has ended, or nobody watches it any more.
    fn is_ending(&self) -> Result<bool, Errno> {
        let mut ended = [
            PollFd::from_borrowed_fd(self.live.pidfd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.live.monitor(), PollFlags::IN),
        ];
        poll(&mut ended, Some(&rustix::event::Timespec::default())).map(|ready| ready > 0)
    }

    fn at_log(
        &mut self,
        container: &Container,
        mut log: Option<Log>,
        output: &mut Output<'_>,
    ) -> Result<Left, Error> {
        let failed = |errno: Errno| Error::system(format!("attach to {}", container.name()), errno);
        let mut input = self.input(container)?;
        loop {
            let ended = self.live.wait(Some(Duration::ZERO))?;
            if let Some(log) = &mut log
                && output.copy(log)?.is_err()
            {
                return Ok(Left::Detached);
            }
            if ended {
                return Ok(Left::Ended);
            }
            let mut files = vec![
                PollFd::from_borrowed_fd(self.live.monitor(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            let away = input.is_some() && !tty::is_ours();
            let reading = input.as_ref().filter(|_| !away);
            if let Some(input) = reading {
                files.push(input.wants());
            }
            let watch = log.as_mut().map(Log::watched);
            files.extend(
                watch
                    .flatten()
                    .map(|watch| PollFd::from_borrowed_fd(watch, PollFlags::IN)),
            );
            // Without a watch, and in the background, a look ten times a second.
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
                return Ok(Left::Detached);
            }
            if typed
                && let Some(open) = &mut input
                && !open.pass_on().map_err(failed)?
            {
                input = None;
            }
        }
    }

    /// The way to the container's standard input, if it has one that stays open.
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

/// From our standard input to the container's, through its monitor.
struct Input {
    socket: OwnedFd,
    /// What the monitor has not taken yet.
    message: Vec<u8>,
}

impl Input {
    fn wants(&self) -> PollFd<'_> {
        match self.message.is_empty() {
            true => PollFd::from_borrowed_fd(stdin(), PollFlags::IN),
            false => PollFd::new(&self.socket, PollFlags::OUT),
        }
    }

    /// False: our input has ended, or nobody takes it any more.
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
    /// Writes what a log has, each stream to its own.
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
