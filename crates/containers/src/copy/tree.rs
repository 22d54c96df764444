//! The file trees that a copy reads from and writes to.

pub(super) mod destination;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::entry::{Identity, TRIES, identity};
use crate::Error;

/// A file tree in which paths are resolved: that of the host, or one that no path leads out of.
#[derive(Debug)]
pub struct Tree {
    /// `None` for the host, where the kernel resolves paths as usual.
    root: Option<OwnedFd>,
    /// The prefix of paths in messages.
    name: String,
    /// Mount points whose content is not available.
    unavailable: Vec<Unavailable>,
    /// Directories of the host that contain this tree, and so are never copied into it.
    excluded: Vec<Identity>,
}

/// A mount point of a stopped container whose content is not available: an empty file system is mounted instead.
#[derive(Clone, Debug)]
pub struct Unavailable {
    /// The device of that empty file system.
    pub(crate) device: u64,
    /// The mount point and the reason.
    pub(crate) why: String,
    /// Whether this is so in every stopped container: a copy of the tree is complete without it.
    pub(crate) expected: bool,
}

impl Tree {
    /// The files of the host, as the caller sees them.
    pub fn host() -> Self {
        Self {
            root: None,
            name: String::new(),
            unavailable: vec![],
            excluded: vec![],
        }
    }

    /// The files below the root directory of the container `name`.
    pub fn confined(root: OwnedFd, name: &str) -> Self {
        Self {
            root: Some(root),
            name: format!("{name}:"),
            unavailable: vec![],
            excluded: vec![],
        }
    }

    /// Sets the mount points whose content is not available.
    pub fn without(mut self, unavailable: Vec<Unavailable>) -> Self {
        self.unavailable = unavailable;
        self
    }

    /// Sets the directory of the host that contains this tree and is never copied into it.
    pub fn kept_in(mut self, directory: &Path) -> Self {
        // If it cannot be read, nothing can be copied from it either.
        let stat = rustix::fs::stat(directory).ok();
        self.excluded = stat.iter().map(identity).collect();
        self
    }

    pub(super) fn excluded(&self) -> &[Identity] {
        &self.excluded
    }

    /// Opens a directory for reading, for example to unpack an archive in.
    pub fn directory(&self, path: &Path) -> Result<OwnedFd, Error> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        let opened = self
            .try_open(path, flags)
            .map_err(|errno| self.missing("open", path, errno))?;
        let stat =
            rustix::fs::fstat(&opened).map_err(|errno| self.failed("look at", path, errno))?;
        self.check(&stat, path)?;
        Ok(opened)
    }

    /// A path in it, as shown in messages.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        let mut shown = OsString::from(&self.name);
        shown.push(path);
        shown.into()
    }

    pub(super) fn failed(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        match errno {
            Errno::AGAIN => Error::copy(
                action,
                &self.shown(path),
                "another process keeps renaming directories in the path",
            ),
            errno => Error::io(action, &self.shown(path), errno),
        }
    }

    /// The unavailable mount point with this file system, if there is one.
    pub(super) fn unavailable(&self, stat: &Stat) -> Option<&Unavailable> {
        self.unavailable
            .iter()
            .find(|unavailable| unavailable.device == stat.st_dev)
    }

    fn check(&self, stat: &Stat, path: &Path) -> Result<(), Error> {
        match self.unavailable(stat) {
            Some(unavailable) => Err(Error::copy("reach", &self.shown(path), &*unavailable.why)),
            None => Ok(()),
        }
    }

    /// The error for a path, which may lead through an unavailable mount point.
    fn missing(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        for above in path.ancestors().filter(|_| !self.unavailable.is_empty()) {
            if let Ok(there) = self.try_open(above, OFlags::PATH)
                && let Ok(stat) = rustix::fs::fstat(&there)
            {
                match self.check(&stat, path) {
                    Err(error) => return error,
                    Ok(()) => break,
                }
            }
        }
        self.failed(action, path, errno)
    }

    fn try_open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let Some(root) = &self.root else {
            return rustix::fs::openat(CWD, path, flags, Mode::empty());
        };
        let path = if path.as_os_str().is_empty() {
            Path::new("/")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            result = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve);
            // The kernel could not rule out that a rename led ".." out of the root, openat2(2).
            if !matches!(result, Err(Errno::AGAIN)) {
                break;
            }
        }
        result
    }
}
