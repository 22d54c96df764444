//! The socket of a detached container's monitor.
//!
//! It lies in the state directory. Each message of a client is one datagram that begins with its kind; what the client gets are the
//! terminal's bytes, and the end of the connection when the terminal ends.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
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

/// Connects to the container whose state is in this directory.
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
        "{}/{SOCKET}",
        path_of(&open)
    ))?)
}
