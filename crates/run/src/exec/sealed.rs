//! The program that box was started from, out of reach of a container.
//!
//! A process that joins a container is, until it executes the command, a process of this program, and the container can make it
//! execute `/proc/self/exe` as an interpreter. The file it opens there is the one the process was started from, through the mount it
//! was started through: if that can be written to, the host's box is overwritten (CVE-2019-5736). So box starts itself once
//! more, through a read-only mount of the one file that exists nowhere else, or from a sealed copy in memory.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mount;
use crate::sys::process::{Strings, execveat};
use crate::{Error, mounts};

/// This program through `/proc`.
const PROGRAM: &str = "/proc/self/exe";

/// Returns at once if the program is out of reach; otherwise starts it again, with the same arguments and environment. To
/// be called before anything else is done.
pub fn seal() -> Result<(), Error> {
    let failed = |errno: Errno| Error::io("protect", Path::new(PROGRAM), errno);
    if is_sealed().map_err(failed)? {
        return Ok(());
    }
    let program = match read_only_mount() {
        Ok(program) => program,
        Err(_) => sealed_copy().map_err(failed)?,
    };
    let strings = |words: Vec<std::ffi::OsString>| -> Result<Strings, Error> {
        let words = words
            .into_iter()
            .map(|word| mounts::c_string(&word.into_vec()))
            .collect::<Result<_, _>>()?;
        Ok(Strings::new(words))
    };
    let arguments = strings(std::env::args_os().collect())?;
    let environment = strings(
        std::env::vars_os()
            .map(|(mut key, value)| {
                key.push("=");
                key.push(value);
                key
            })
            .collect(),
    )?;
    Err(failed(execveat(program.as_fd(), &arguments, &environment)))
}

/// Nobody could write to it: its mount is read-only and not the host's, or it is sealed.
fn is_sealed() -> Result<bool, Errno> {
    let file = rustix::fs::open(PROGRAM, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        return Ok(true);
    }
    Ok(rustix::fs::fstatvfs(&file)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY))
}

/// The file alone, on a mount that is attached nowhere. open_tree(2), mount_setattr(2)
fn read_only_mount() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, PROGRAM, flags)?;
    let read_only = mount::Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..mount::Attributes::default()
    };
    mount::set_attributes(tree.as_fd(), &read_only, false)?;
    Ok(tree)
}

/// For kernels and outer containers that do not let us mount. memfd_create(2)
fn sealed_copy() -> Result<OwnedFd, Errno> {
    let copy = rustix::fs::memfd_create("box", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let program = rustix::fs::open(PROGRAM, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut target = std::fs::File::from(copy);
    std::io::copy(&mut std::fs::File::from(program), &mut target)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&target, seals)?;
    Ok(target.into())
}
