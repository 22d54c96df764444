//! The root file system of a container.

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
    /// A user namespace with these maps, for mount_setattr(2).
    pub namespace: BorrowedFd<'a>,
}

/// Why the root file system could not be made.
#[derive(Debug)]
pub enum Failure {
    /// The system call that mounts it failed, with this number.
    Errno(Errno),
    /// An earlier step failed.
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
/// Exactly one of three methods mounts it: [`open`](Self::open), before the first process exists; [`detached`](Self::detached), in
/// the parent while the first process makes its namespaces; or [`mount`](Self::mount), in that process.
pub trait RootFilesystem: fmt::Debug {
    /// The absolute path that it is attached to, in the container's mount namespace only.
    fn target(&self) -> &CStr;

    /// Prepares whatever must exist before the first process. A mount that it returns is detached. With `ids` it has to return one
    /// that is mapped to these ids.
    fn open(&mut self, ids: Option<UserIds<'_>>) -> Result<Option<OwnedFd>, Error>;

    /// Whether [`detached`](Self::detached) mounts it. The first process then waits for the parent.
    fn is_sent(&self) -> bool {
        false
    }

    /// Mounts it in the parent, detached. `None` if this kernel cannot; [`mount`](Self::mount) is called then.
    fn detached(&self) -> Result<Option<OwnedFd>, Failure> {
        Ok(None)
    }

    /// Mounts it on its target. Called in the child, between clone3(2) and execve(2): it must not allocate or take a lock.
    fn mount(&self) -> Result<(), Errno> {
        Err(Errno::BADF)
    }

    /// A description for users: `overlay on /a (lowerdir=...)`.
    fn describe(&self) -> String;

    /// The step of mounting it, for errors: `mount the overlay on /a`.
    fn step(&self) -> String;
}

/// The directory that the spec names, with everything mounted below it.
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
