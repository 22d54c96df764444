//! Reading a directory tree that may change at any moment and must not lead out of itself.

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Error;

/// A file of the upper directory.
pub(crate) struct File {
    /// Opened with `O_PATH`.
    pub(crate) handle: OwnedFd,
    pub(crate) stat: Stat,
}

/// A tree in which paths are resolved below its root, through no symbolic link and onto no other file system.
pub(super) struct Upper {
    root: OwnedFd,
    path: PathBuf,
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

impl Upper {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno))?;
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    /// Opens a file without following a link; `None` if it was removed.
    pub(super) fn file(&self, path: &Path) -> Result<Option<File>, Error> {
        let handle = match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(self.failed("open", path, errno)),
        };
        let stat =
            rustix::fs::fstat(&handle).map_err(|errno| self.failed("look at", path, errno))?;
        Ok(Some(File { handle, stat }))
    }

    /// The names in a directory, in order; none if it was removed.
    pub(super) fn names(&self, path: &Path) -> Result<Vec<OsString>, Error> {
        match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
            Ok(directory) => {
                names(&directory).map_err(|errno| self.failed("read directory", path, errno))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(vec![]),
            Err(errno) => Err(self.failed("open directory", path, errno)),
        }
    }

    pub(super) fn is_opaque(&self, path: &Path) -> Result<bool, Error> {
        match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
            Ok(directory) => is_opaque(&directory)
                .map_err(|errno| self.failed("read the xattrs of", path, errno)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => Err(self.failed("open directory", path, errno)),
        }
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            RESOLVE,
        )
    }

    fn failed(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        Error::io(action, &self.path.join(path), errno)
    }
}

/// The names in an open directory, in order.
pub(super) fn names(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = vec![];
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(OsString::from_vec(name.to_bytes().to_vec()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a file is a whiteout: a character device 0:0; overlayfs.rst, "whiteouts and opaque directories".
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a directory is opaque: its xattr is `y`. An overlay without `userxattr`, as box mounts it, reads `trusted.` only; anybody
/// in the container can set `user.overlay.`, and that hides nothing.
pub(super) fn is_opaque(directory: impl AsFd) -> Result<bool, Errno> {
    has_attribute(directory, c"trusted.overlay.opaque")
}

/// Whether an attribute is `y`.
pub(super) fn has_attribute(file: impl AsFd, name: &CStr) -> Result<bool, Errno> {
    let mut value = [0u8; 8];
    match rustix::fs::fgetxattr(file.as_fd(), name, &mut value[..]) {
        Ok(1) if value[0] == b'y' => Ok(true),
        Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}
