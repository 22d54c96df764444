//! Allocates the terminal of a command and sets its standard streams. In the child.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid, fchown, fstat, fstatfs, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::tcsetwinsize;

use super::caller_size;
use crate::devices::null::is_null;
use crate::sys::process::move_descriptor;

/// Allocates a terminal from a devpts of box's own, so no path of the image is involved (CVE-2025-52565). If `dev` is the file
/// system on /dev, the terminal is bound there as `console`. Returns the master side and the terminal.
pub fn allocate(
    devpts: BorrowedFd<'_>,
    dev: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(devpts, c"ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let terminal = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if let Some(size) = caller_size() {
        tcsetwinsize(&master, size)?;
    }
    if let Some(dev) = dev {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(dev, c"console", flags, Mode::from_raw_mode(0o600))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&terminal, c"", flags)?;
        move_mount(
            &tree,
            c"",
            dev,
            c"console",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
    }
    Ok((master, terminal))
}

/// Makes the terminal, if there is one, descriptors 0, 1 and 2. Without a terminal, unnamed pipes are given to the command's user
/// so that /dev/stdout can be opened, and `null` replaces each null device: through its descriptor a container could change the
/// mode and owner of the host's.
pub fn take_stdio(
    terminal: Option<&OwnedFd>,
    files: Option<&[OwnedFd; 3]>,
    uid: u32,
    null: Option<&OwnedFd>,
) -> Result<(), Errno> {
    for (number, file) in files.into_iter().flatten().enumerate() {
        move_descriptor(file.as_raw_fd(), number as i32, false)?;
    }
    let owner = (uid != 0).then(|| Uid::from_raw(uid));
    match terminal {
        Some(terminal) => {
            if owner.is_some() {
                fchown(terminal, owner, None::<Gid>)?;
            }
            for number in 0..3 {
                move_descriptor(terminal.as_raw_fd(), number, false)?;
            }
        }
        None => {
            for (number, file) in (0..).zip([stdin(), stdout(), stderr()]) {
                let found = fstat(file)?;
                if let Some(null) = null.filter(|_| is_null(&found)) {
                    move_descriptor(null.as_raw_fd(), number, false)?;
                } else if owner.is_some() && is_nameless_pipe(file, &found)? {
                    // This fails for a pipe of another user, which is left alone.
                    let _ = fchown(file, owner, None::<Gid>);
                }
            }
        }
    }
    Ok(())
}

/// Makes the terminal the controlling terminal of this process' session.
pub fn take_control(terminal: &OwnedFd) -> Result<(), Errno> {
    rustix::process::ioctl_tiocsctty(terminal)
}

/// Whether it is a pipe without a name. A named one outlives box, and keeps its owner.
fn is_nameless_pipe(file: BorrowedFd<'_>, found: &Stat) -> Result<bool, Errno> {
    // linux/magic.h
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Fifo
        && fstatfs(file)?.f_type as u64 == PIPEFS_MAGIC)
}
