//! The terminal of a detached container: what it prints goes to the log and to everybody who is attached, what they type goes in.
//!
//! Those attach through a socket in the state directory. Each message of theirs is one datagram that begins with its kind;
//! what they get are the container's bytes, and the end of the connection when it ends.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, socket_with,
};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{input, open_log};
use crate::Error;

/// The socket's name.
const SOCKET: &str = "attach";
/// Kinds of messages: keys, and a size of the window as two 16-bit numbers, rows and columns.
pub(crate) const KEYS: u8 = 0;
pub(crate) const SIZE: u8 = 1;
/// The longest message.
pub(crate) const LONGEST: usize = 4096;

pub(super) struct Broadcast {
    master: OwnedFd,
    listener: OwnedFd,
    clients: Vec<OwnedFd>,
    log: File,
    typed: Vec<u8>,
    open: bool,
}

/// Connects to the terminal of a container whose state is in this directory.
pub(crate) fn attach(directory: &Path) -> Result<OwnedFd, Error> {
    let failed = |errno| Error::io("connect to", &directory.join(SOCKET), errno);
    let socket = make().map_err(failed)?;
    with_address(directory, |address| connect(&socket, address)).map_err(failed)?;
    Ok(socket)
}

fn make() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// A socket's address holds a hundred bytes, and a directory may have a longer path: it goes by its descriptor.
fn with_address<T>(
    directory: &Path,
    each: impl FnOnce(&SocketAddrUnix) -> Result<T, Errno>,
) -> Result<T, Errno> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let open = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    each(&SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{SOCKET}",
        open.as_raw_fd()
    ))?)
}

impl Broadcast {
    pub(super) fn new(master: OwnedFd, directory: &Path, instance: &Path) -> Result<Self, Error> {
        let failed = |errno| Error::io("listen on", &directory.join(SOCKET), errno);
        let listener = make().map_err(failed)?;
        with_address(directory, |address| bind(&listener, address)).map_err(failed)?;
        listen(&listener, 8).map_err(failed)?;
        let flags = rustix::fs::fcntl_getfl(&master).map_err(failed)?;
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK).map_err(failed)?;
        Ok(Self {
            master,
            listener,
            clients: vec![],
            log: open_log(instance)?,
            typed: vec![],
            open: true,
        })
    }

    pub(super) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Adds what is waited for: first the terminal, then the listener, then those attached.
    pub(super) fn wants<'a>(&'a self, files: &mut Vec<PollFd<'a>>) {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.open);
        wanted.set(PollFlags::OUT, self.open && !self.typed.is_empty());
        // A terminal that nobody has open any more is always ready: it is left out.
        let terminal = if self.open {
            self.master.as_fd()
        } else {
            self.listener.as_fd()
        };
        files.push(PollFd::from_borrowed_fd(terminal, wanted));
        files.push(input(self.listener.as_fd()));
        files.extend(self.clients.iter().map(|client| input(client.as_fd())));
    }

    /// Does what is ready. Returns the signal that a key has just sent.
    pub(super) fn turn(&mut self, ready: &[PollFlags]) -> Result<Option<i32>, Errno> {
        let mut signal = None;
        // From the last: one that has gone does not move those before.
        for index in (2..ready.len()).rev() {
            if !ready[index].is_empty() {
                signal = self.hear(index - 2)?.or(signal);
            }
        }
        if !ready[1].is_empty()
            && let Ok(client) =
                accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            self.clients.push(client);
        }
        if ready[0].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.print()?;
        }
        self.type_in()?;
        Ok(signal)
    }

    /// Passes on what is left.
    pub(super) fn drain(&mut self) -> Result<(), Errno> {
        while self.open && self.print()? {}
        Ok(())
    }

    fn hear(&mut self, index: usize) -> Result<Option<i32>, Errno> {
        let mut message = [0u8; LONGEST];
        let length = match recv(&self.clients[index], &mut message[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(_) => 0,
        };
        match message[..length] {
            [KEYS, ref keys @ ..] => {
                // A container that does not read must not make this process grow.
                if self.typed.len() < 64 * LONGEST {
                    self.typed.extend_from_slice(keys);
                }
                Ok(keys.iter().find_map(|key| match key {
                    3 => Some(libc::SIGINT),
                    28 => Some(libc::SIGQUIT),
                    _ => None,
                }))
            }
            [SIZE, a, b, c, d] => {
                let (rows, columns) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
                let size = Winsize {
                    ws_row: rows,
                    ws_col: columns,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                tcsetwinsize(&self.master, size)?;
                Ok(None)
            }
            _ => {
                self.clients.swap_remove(index);
                Ok(None)
            }
        }
    }

    fn print(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0u8; 16384];
        let length = match rustix::io::read(&self.master, &mut buffer[..]) {
            // EIO: nobody has the terminal open any more.
            Ok(0) | Err(Errno::IO) => {
                self.open = false;
                return Ok(false);
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        // On a full disk the container goes on, and what it says is lost.
        self.log.write_all(&buffer[..length]).ok();
        // Who does not keep up is let go: the container does not wait for anybody.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        self.clients
            .retain(|client| send(client, &buffer[..length], flags).is_ok());
        Ok(true)
    }

    fn type_in(&mut self) -> Result<(), Errno> {
        if self.typed.is_empty() || !self.open {
            return Ok(());
        }
        match rustix::io::write(&self.master, &self.typed) {
            Ok(length) => {
                self.typed.drain(..length);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
