//! A temporary mount namespace.

use std::os::fd::{AsFd, OwnedFd};

use box_run::sys::process;
use box_unpack::RaisedLimit;
use rustix::fs::{CWD, Mode, OFlags};

use crate::Error;

/// A temporary mount namespace of the calling thread, with the original namespace and working directory to return to.
pub(crate) struct SeparateNamespace {
    namespace: OwnedFd,
    directory: OwnedFd,
    _limit: RaisedLimit,
}

impl SeparateNamespace {
    pub fn enter() -> Result<Self, Error> {
        let failed = |errno| Error::system("create a mount namespace", errno);
        let open = |path: &std::ffi::CStr, flags: OFlags| {
            rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
        };
        let namespace = open(c"/proc/self/ns/mnt", OFlags::RDONLY).map_err(failed)?;
        let directory = open(c".", OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
        process::unshare(libc::CLONE_NEWNS).map_err(failed)?;
        let separate = Self {
            namespace,
            directory,
            _limit: RaisedLimit::raise(),
        };
        match box_run::sys::mount::make_private() {
            Ok(()) => Ok(separate),
            Err(errno) => separate.leave().and(Err(failed(errno))),
        }
    }

    pub fn leave(self) -> Result<(), Error> {
        let failed = |errno| Error::system("return to the host's mount namespace", errno);
        rustix::thread::move_into_link_name_space(self.namespace.as_fd(), None).map_err(failed)?;
        rustix::process::fchdir(self.directory).map_err(failed)
    }
}
