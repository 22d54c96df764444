//! The attached clients of a detached container, on the side of its monitor. Their input goes to the container's terminal or stdin, and
//! the output of the terminal goes to the log and to all clients. Without a terminal, clients read the output in the log.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{Winsize, tcsetwinsize};

use super::socket::{self, KEYS, LONGEST, SIZE};
use box_run::signals;

use crate::Error;
use crate::logs::{Stream, Writer};

/// The most input that is kept for a container that does not read.
const MOST_TYPED: usize = 16 * LONGEST;

/// How long a client that does not read can hold up the terminal before it is disconnected.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most output that is read from a terminal after the container has ended: more than it buffers. Another process may still write.
const MOST_LEFT: usize = 1 << 20;

/// The file that clients attach to.
pub(super) enum End {
    /// The master side of the container's terminal.
    Terminal(OwnedFd),
    /// The pipe to the container's stdin.
    Input(OwnedFd),
}

pub(super) struct Broadcast {
    end: End,
    /// The container's side of the terminal. While it is open here, the container may close and reopen its own.
    _peer: Option<OwnedFd>,
    listener: OwnedFd,
    clients: Vec<Client>,
    typed: Vec<u8>,
    /// Output that some clients have not read yet, and the time at which they are disconnected.
    held: Option<(Vec<u8>, Instant)>,
    /// Whether the container's side is open.
    open: bool,
}

/// An attached client.
struct Client {
    socket: OwnedFd,
    /// Whether the held output is still to be sent.
    pending: bool,
}

impl End {
    fn file(&self) -> BorrowedFd<'_> {
        match self {
            Self::Terminal(file) | Self::Input(file) => file.as_fd(),
        }
    }
}

impl Broadcast {
    pub(super) fn new(end: End, directory: &Path) -> Result<Self, Error> {
        let listener = socket::listen_in(directory)?;
        let failed = |errno| Error::io("listen on the socket in", directory, errno);
        let flags = rustix::fs::fcntl_getfl(end.file()).map_err(failed)?;
        rustix::fs::fcntl_setfl(end.file(), flags | rustix::fs::OFlags::NONBLOCK)
            .map_err(failed)?;
        let peer = match &end {
            End::Terminal(master) => {
                let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
                ioctl_tiocgptpeer(master, flags).ok()
            }
            End::Input(_) => None,
        };
        Ok(Self {
            end,
            _peer: peer,
            listener,
            clients: vec![],
            typed: vec![],
            held: None,
            open: true,
        })
    }

    /// The master side of the container's terminal, if it has one.
    pub(super) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        match &self.end {
            End::Terminal(master) => Some(master.as_fd()),
            End::Input(_) => None,
        }
    }

    /// The time by which [`Broadcast::handle`] must be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|(_, due)| *due)
    }

    /// Adds the files to poll: first the terminal or stdin, then the listener, then the clients.
    pub(super) fn add_to_poll<'a>(&'a self, files: &mut Vec<PollFd<'a>>) {
        let nothing = PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::empty());
        let mut wanted = PollFlags::empty();
        wanted.set(
            PollFlags::IN,
            self.terminal().is_some() && self.held.is_none(),
        );
        wanted.set(PollFlags::OUT, !self.typed.is_empty());
        // A closed file would always be ready.
        files.push(match self.open && !wanted.is_empty() {
            true => PollFd::from_borrowed_fd(self.end.file(), wanted),
            false => nothing.clone(),
        });
        files.push(input(self.listener.as_fd()));
        let full = self.is_full();
        files.extend(self.clients.iter().map(|client| {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, !full);
            wanted.set(PollFlags::OUT, client.pending);
            match wanted.is_empty() {
                true => nothing.clone(),
                false => PollFd::new(&client.socket, wanted),
            }
        }));
    }

    /// Handles the ready files. Returns the signal that a key has sent.
    pub(super) fn handle(
        &mut self,
        ready: &[PollFlags],
        log: &mut Option<Writer>,
    ) -> Result<Option<i32>, Errno> {
        let mut signal = None;
        self.send_held();
        // From the last to the first, as removing a client moves those after it.
        for index in (0..ready.len().saturating_sub(2)).rev() {
            let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
            if ready[index + 2].intersects(readable) && !self.is_full() {
                signal = self.receive(index)?.or(signal);
            }
        }
        if ready.get(1).is_some_and(|ready| !ready.is_empty())
            && let Ok(socket) =
                accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            let pending = false;
            self.clients.push(Client { socket, pending });
        }
        let printed = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        if self.held.is_none() && ready.first().is_some_and(|ready| ready.intersects(printed)) {
            self.read_terminal(log)?;
        }
        self.write_typed()?;
        Ok(signal)
    }

    /// Whether the clients have to wait until the container reads. With a terminal they never wait, as the detach keys must work.
    fn is_full(&self) -> bool {
        self.terminal().is_none() && self.typed.len() >= MOST_TYPED
    }

    /// Reads and sends the remaining output.
    pub(super) fn drain(&mut self, log: &mut Option<Writer>) -> Result<(), Errno> {
        let mut left = MOST_LEFT;
        loop {
            self.flush_clients()?;
            match self.read_terminal(log)? {
                length if length > 0 && length < left => left -= length,
                _ => break,
            }
        }
        self.flush_clients()
    }

    /// Waits until all clients have the held output, or are disconnected.
    fn flush_clients(&mut self) -> Result<(), Errno> {
        while self.held.is_some() {
            self.await_clients()?;
            self.send_held();
        }
        Ok(())
    }

    /// Waits until one of the pending clients reads, or the time is over.
    fn await_clients(&self) -> Result<(), Errno> {
        let Some(due) = self.due() else {
            return Ok(());
        };
        let mut files: Vec<_> = self
            .clients
            .iter()
            .filter(|client| client.pending)
            .map(|client| PollFd::new(&client.socket, PollFlags::OUT))
            .collect();
        let left = due.saturating_duration_since(Instant::now());
        let left = rustix::event::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut files, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn receive(&mut self, index: usize) -> Result<Option<i32>, Errno> {
        let mut message = [0u8; LONGEST];
        let socket = &self.clients[index].socket;
        let length = match recv(socket, &mut message[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(_) => 0,
        };
        match message[..length] {
            [KEYS, ref keys @ ..] => {
                // Input for a container that has closed its stdin, or that does not fit, is dropped.
                if self.open && self.typed.len() < MOST_TYPED {
                    self.typed.extend_from_slice(keys);
                }
                Ok(keys.iter().find_map(|key| signals::of_key(*key)))
            }
            [SIZE, a, b, c, d] => {
                let (rows, columns) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
                let size = Winsize {
                    ws_row: rows,
                    ws_col: columns,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                if let Some(master) = self.terminal() {
                    tcsetwinsize(master, size)?;
                }
                Ok(None)
            }
            _ => {
                self.clients.swap_remove(index);
                Ok(None)
            }
        }
    }

    /// Reads the terminal once. Returns the number of bytes.
    fn read_terminal(&mut self, log: &mut Option<Writer>) -> Result<usize, Errno> {
        let Some(master) = self.terminal().filter(|_| self.open) else {
            return Ok(0);
        };
        let mut buffer = [0u8; 16384];
        let length = match rustix::io::read(master, &mut buffer[..]) {
            // EIO: no process has the terminal open any more.
            Ok(0) | Err(Errno::IO) => {
                self.open = false;
                return Ok(0);
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(errno) => return Err(errno),
        };
        if let Some(log) = log {
            log.write(Stream::Stdout, &buffer[..length]);
        }
        for client in &mut self.clients {
            client.pending = true;
        }
        if !self.send(&buffer[..length]) {
            self.held = Some((buffer[..length].to_vec(), Instant::now() + CLIENT_TIMEOUT));
        }
        Ok(length)
    }

    /// Sends output to the pending clients and removes disconnected ones. Returns whether all have it.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        self.clients.retain_mut(|client| {
            if !client.pending {
                return true;
            }
            match send(&client.socket, bytes, flags) {
                Ok(_) => {
                    client.pending = false;
                    true
                }
                Err(errno) => matches!(errno, Errno::AGAIN | Errno::NOBUFS | Errno::INTR),
            }
        });
        !self.clients.iter().any(|client| client.pending)
    }

    /// Sends the held output again. Clients whose time is over are disconnected, so that they cannot block the container.
    fn send_held(&mut self) {
        let Some((bytes, due)) = self.held.take() else {
            return;
        };
        if self.send(&bytes) {
            return;
        }
        if Instant::now() >= due {
            self.clients.retain(|client| !client.pending);
            return;
        }
        self.held = Some((bytes, due));
    }

    fn write_typed(&mut self) -> Result<(), Errno> {
        if self.typed.is_empty() || !self.open {
            return Ok(());
        }
        match rustix::io::write(self.end.file(), &self.typed) {
            Ok(length) => {
                self.typed.drain(..length);
                if self.typed.is_empty() {
                    self.typed = vec![];
                }
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(()),
            // The container has closed its stdin.
            Err(Errno::PIPE) => {
                self.open = false;
                self.typed = vec![];
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }
}

/// A descriptor to poll for input.
fn input(file: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(file, PollFlags::IN)
}
