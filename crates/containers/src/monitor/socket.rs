//! The socket of a detached container's monitor.
//!
//! It lies in the state directory. Each message of a client is one datagram that begins with its kind; what the client gets are the
//! terminal's bytes, and the end of the connection when the terminal ends.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use box_run::tty;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, send,
    socket_with,
};

use crate::Error;
use crate::files::descriptor::path_of;

/// The socket's name.
const SOCKET: &str = "attach";

/// Kind of a message: keys that were typed.
pub(super) const KEYS: u8 = 0;

/// Kind of a message: the size of the window, as two 16-bit numbers, rows and columns.
pub(super) const SIZE: u8 = 1;

/// The longest message.
pub(super) const LONGEST: usize = 4096;

/// Connects to the monitor of the container with this state directory.
pub(super) fn connect_to(directory: &Path) -> Result<OwnedFd, Error> {
    let failed = |errno| Error::io("connect to", &directory.join(SOCKET), errno);
    let socket = make().map_err(failed)?;
    with_address(directory, |address| connect(&socket, address)).map_err(failed)?;
    Ok(socket)
}

/// Makes the socket in the state directory and listens on it.
pub(super) fn listen_in(directory: &Path) -> Result<OwnedFd, Error> {
    let failed = |errno| Error::io("listen on", &directory.join(SOCKET), errno);
    let listener = make().map_err(failed)?;
    with_address(directory, |address| bind(&listener, address)).map_err(failed)?;
    listen(&listener, 8).map_err(failed)?;
    Ok(listener)
}

fn make() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Calls `each` with the socket's address. It names the directory by descriptor, as an address has room for a path of 107 bytes only.
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
        "{}/{SOCKET}",
        path_of(&open)
    ))?)
}

/// Sends the size of the caller's terminal, if it has one.
pub(super) fn send_size(socket: &OwnedFd) -> Result<(), Errno> {
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
