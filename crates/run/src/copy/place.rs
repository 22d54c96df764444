//! Where a copy comes from and goes to.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Error;

/// A file tree in which paths are resolved: the host's, or one that no path leads out of.
#[derive(Debug)]
pub struct Tree {
    /// `None`: the host, by its own rules.
    root: Option<OwnedFd>,
    /// For messages: what stands before a path.
    name: String,
}

/// What a destination's path means.
pub(super) enum Destination {
    /// It is a directory.
    Directory(OwnedFd),
    /// It is a file of another kind.
    File(Target),
    /// It is not there; `wants_directory`: its path ends with a slash.
    Missing {
        target: Target,
        wants_directory: bool,
    },
}

/// A name in an open directory.
pub(super) struct Target {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
}

/// As many links as the kernel follows, path_resolution(7).
const MOST_LINKS: usize = 40;

impl Tree {
    /// The host's files, as the caller sees them.
    pub fn host() -> Self {
        Self {
            root: None,
            name: String::new(),
        }
    }

    /// The files of a container whose root directory this is. `name` is what people call it.
    pub fn confined(root: OwnedFd, name: &str) -> Self {
        Self {
            root: Some(root),
            name: format!("{name}:"),
        }
    }

    /// Opens a directory for reading, for example as the place to unpack an archive in.
    pub fn directory(&self, path: &Path) -> Result<OwnedFd, Error> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        self.try_open(path, flags)
            .map_err(|errno| self.failed("open", path, errno))
    }

    pub(super) fn failed(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        let mut shown = OsString::from(&self.name);
        shown.push(path);
        Error::io(action, Path::new(&shown), errno)
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
        loop {
            match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
                // The kernel could not rule out that a rename led ".." out of the root, openat2(2).
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }

    /// What is at the path, symbolic links followed to where a new file would be made.
    pub(super) fn destination(&self, path: &Path) -> Result<Destination, Error> {
        match self.try_open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => return Ok(Destination::Directory(directory)),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(self.failed("open", path, errno)),
        }
        let wants_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let target = self.target(&path)?;
            match rustix::fs::readlinkat(&target.directory, &target.name, vec![]) {
                Ok(link) => {
                    use std::os::unix::ffi::OsStrExt;
                    let link = PathBuf::from(std::ffi::OsStr::from_bytes(link.as_bytes()));
                    path = path.parent().unwrap_or(Path::new("")).join(link);
                }
                Err(Errno::NOENT) => {
                    return Ok(Destination::Missing {
                        target,
                        wants_directory,
                    });
                }
                // It is something else than a link.
                Err(Errno::INVAL) if !wants_directory => return Ok(Destination::File(target)),
                Err(Errno::INVAL) => return Err(self.failed("copy to", &path, Errno::NOTDIR)),
                Err(errno) => return Err(self.failed("look at", &path, errno)),
            }
        }
        Err(self.failed("copy to", &path, Errno::LOOP))
    }

    fn target(&self, path: &Path) -> Result<Target, Error> {
        let Some(name) = path.file_name() else {
            return Err(self.failed("copy to", path, Errno::NOENT));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ if self.root.is_some() => Path::new("/"),
            _ => Path::new("."),
        };
        let directory = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Target {
            directory,
            name: name.to_owned(),
        })
    }
}

/// Opens what is at a name, as a mere handle, without following it.
pub(super) fn look(directory: impl AsFd, name: &OsString) -> Result<(OwnedFd, Stat), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&handle)?;
    Ok((handle, stat))
}

/// Opens a directory that is held as a mere handle for reading.
pub(super) fn directory(handle: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        handle,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Looks at a name without following it.
pub(super) fn kind(target: &Target) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(&target.directory, &target.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
