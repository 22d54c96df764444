//! Where a container's root file system comes from.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::Error;
use crate::error::c_string;
use crate::namespaces::idmap::IdMap;
use crate::sys::mount::{Attributes, set_attributes};

/// The ids of a container with a user namespace.
#[derive(Clone, Copy, Debug)]
pub struct UserIds<'a> {
    /// Its maps.
    pub map: &'a IdMap,
    /// A user namespace with these maps: what mount_setattr(2) takes them from.
    pub namespace: BorrowedFd<'a>,
}

/// Why there is no root file system.
#[derive(Debug)]
pub enum Failure {
    /// The system call that mounts it failed.
    Errno(Errno),
    /// What comes before that failed.
    Error(Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A root file system: the directory that the spec names, or what the caller mounts instead.
///
/// It is made in one of three places: by [`open`](Self::open), before there is a process; by [`detached`](Self::detached), in the
/// parent while the first process makes its namespaces; or by [`mount`](Self::mount), in that process.
pub trait RootFilesystem: fmt::Debug {
    /// The place that it is attached to, an absolute path. It is seen in the container's mount namespace alone.
    fn target(&self) -> &CStr;

    /// Makes what has to be there before the first process. A mount that is returned is attached nowhere; with `ids` it is the
    /// root file system as these see it, and `None` is an error.
    fn open(&mut self, ids: Option<UserIds<'_>>) -> Result<Option<OwnedFd>, Error>;

    /// Whether [`detached`](Self::detached) makes it: the first process waits for that.
    fn is_sent(&self) -> bool {
        false
    }

    /// Makes it in the parent, attached nowhere. `None`: this kernel cannot, and [`mount`](Self::mount) is called.
    fn detached(&self) -> Result<Option<OwnedFd>, Failure> {
        Ok(None)
    }

    /// Mounts it on its target. In the child, between clone3(2) and execve(2): nothing may be allocated, no lock taken.
    fn mount(&self) -> Result<(), Errno> {
        Err(Errno::BADF)
    }

    /// What it is, for people: `overlay on /a (lowerdir=...)`.
    fn describe(&self) -> String;

    /// The step of mounting it, for errors: `mount the overlay on /a`.
    fn step(&self) -> String;
}

/// The directory that the spec names, with all that is mounted below it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    target: CString,
}

impl Directory {
    pub fn new(path: PathBuf) -> Result<Self, Error> {
        let target = c_string(path.as_os_str().as_bytes())?;
        Ok(Self { path, target })
    }
}

impl RootFilesystem for Directory {
    fn target(&self) -> &CStr {
        &self.target
    }

    fn open(&mut self, _: Option<UserIds<'_>>) -> Result<Option<OwnedFd>, Error> {
        let failed = |errno| Error::io("open the root file system", &self.path, errno);
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, self.path.as_path(), flags).map_err(failed)?;
        let private = Attributes {
            propagation: libc::MS_PRIVATE,
            ..Attributes::default()
        };
        set_attributes(tree.as_fd(), &private, true).map_err(failed)?;
        Ok(Some(tree))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn step(&self) -> String {
        format!("mount the root file system {}", self.path.display())
    }
}
