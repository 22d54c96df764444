//! Where a copy comes from and goes to.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Error;
use box_run::mounts::is_of_the_kernel;

/// A file tree in which paths are resolved: the host's, or one that no path leads out of.
#[derive(Debug)]
pub struct Tree {
    /// `None`: the host, by its own rules.
    root: Option<OwnedFd>,
    /// For messages: what stands before a path.
    name: String,
    /// Places of which the content is not to be had.
    gone: Vec<Gone>,
    /// Directories of the host that are never copied into this tree, as it is kept in them.
    home: Vec<Identity>,
}

/// A mount point of a stopped container whose content cannot be shown: an empty file system stands in for it.
#[derive(Clone, Debug)]
pub struct Gone {
    /// The device of the file system that stands there.
    pub(crate) device: u64,
    /// What it was, and why it is not there.
    pub(crate) why: String,
    /// It is never there in a stopped container: a tree that holds it is whole without.
    pub(crate) expected: bool,
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// What a destination's path means.
pub(super) enum Destination {
    /// It is a directory.
    Directory { directory: OwnedFd, shown: PathBuf },
    /// It is a file of another kind, to be replaced.
    File(Target),
    /// It is a device or pipe of the host, or a file that only a descriptor leads to, as `/dev/stdout`: to be written to.
    Open { file: OwnedFd, shown: PathBuf },
    /// It is not there; `wants_directory`: its path says that it is a directory.
    Missing {
        target: Target,
        wants_directory: bool,
    },
}

/// A name in an open directory.
pub(super) struct Target {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
    /// For messages.
    pub(super) shown: PathBuf,
}

/// As many links as the kernel follows, path_resolution(7).
const MOST_LINKS: usize = 40;

/// How often something is tried that others can make fail by renaming things all the time.
pub(super) const TRIES: usize = 128;

/// The most names of one directory: so many that nobody has them by honest means, and that fit into memory.
const MOST_NAMES: usize = 2_000_000;

impl Tree {
    /// The host's files, as the caller sees them.
    pub fn host() -> Self {
        Self {
            root: None,
            name: String::new(),
            gone: vec![],
            home: vec![],
        }
    }

    /// The files of a container whose root directory this is. `name` is what people call it.
    pub fn confined(root: OwnedFd, name: &str) -> Self {
        Self {
            root: Some(root),
            name: format!("{name}:"),
            gone: vec![],
            home: vec![],
        }
    }

    /// With mount points whose content is not to be had.
    pub fn without(mut self, gone: Vec<Gone>) -> Self {
        self.gone = gone;
        self
    }

    /// Kept in this directory of the host, which is never copied into it.
    pub fn kept_in(mut self, directory: &Path) -> Self {
        // Where it cannot be looked at, nothing can be copied from it either.
        let stat = rustix::fs::stat(directory).ok();
        self.home = stat.iter().map(identity).collect();
        self
    }

    pub(super) fn home(&self) -> &[Identity] {
        &self.home
    }

    /// Opens a directory for reading, for example as the place to unpack an archive in.
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

    /// How people call a path in it.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        let mut shown = OsString::from(&self.name);
        shown.push(path);
        shown.into()
    }

    pub(super) fn failed(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        match errno {
            Errno::AGAIN => Error::copying(
                action,
                &self.shown(path),
                "directories on its way are renamed all the time",
            ),
            errno => Error::io(action, &self.shown(path), errno),
        }
    }

    /// Why a mount point's content is not to be had, if it is not.
    pub(super) fn gone(&self, stat: &Stat) -> Option<&Gone> {
        self.gone.iter().find(|gone| gone.device == stat.st_dev)
    }

    fn check(&self, stat: &Stat, path: &Path) -> Result<(), Error> {
        match self.gone(stat) {
            Some(gone) => Err(Error::copying("reach", &self.shown(path), &*gone.why)),
            None => Ok(()),
        }
    }

    /// A failure for a path, which may lead through a mount point whose content is not to be had.
    fn missing(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        for above in path.ancestors().filter(|_| !self.gone.is_empty()) {
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

    /// What is at the path, symbolic links followed to where a new file would be made.
    pub(super) fn destination(&self, path: &Path) -> Result<Destination, Error> {
        let failed = |errno| self.failed("copy to", path, errno);
        let wants_directory = says_directory(path);
        let there = match self.try_open(path, OFlags::PATH) {
            Ok(handle) => {
                let stat = rustix::fs::fstat(&handle).map_err(failed)?;
                self.check(&stat, path)?;
                Some((handle, stat))
            }
            // A link to what is not there yet is one of these too.
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(errno) => return Err(failed(errno)),
        };
        let shown = self.shown(path);
        let Some((handle, stat)) = there else {
            return Ok(Destination::Missing {
                target: self.follow(path)?,
                wants_directory,
            });
        };
        let host = self.root.is_none();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                return Ok(Destination::Directory {
                    directory: handle,
                    shown,
                });
            }
            _ if wants_directory => return Err(failed(Errno::NOTDIR)),
            FileType::RegularFile => {}
            FileType::CharacterDevice | FileType::Fifo if host => {
                return Ok(Destination::Open {
                    file: handle,
                    shown,
                });
            }
            kind => return Err(refuse(&shown, kind)),
        }
        let target = self.follow(path)?;
        let named = kind(&target).ok().flatten();
        // The host has links that are no names, as /dev/stdout.
        if host && named.is_none_or(|named| identity(&named) != identity(&stat)) {
            return Ok(Destination::Open {
                file: handle,
                shown,
            });
        }
        Ok(Destination::File(target))
    }

    /// The directory and the name that a path means once the links at its end are followed. On the host as the kernel follows them
    /// (`protected_symlinks`, proc_sys_fs(5)), which has looked a moment ago: one may have been put there since.
    pub(super) fn follow(&self, path: &Path) -> Result<Target, Error> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let target = self.target(&path)?;
            match rustix::fs::readlinkat(&target.directory, &target.name, vec![]) {
                Ok(link) => {
                    use std::os::unix::ffi::OsStrExt;
                    if self.root.is_none() && !is_trusted(&target).unwrap_or(false) {
                        return Err(self.failed("follow", &path, Errno::ACCESS));
                    }
                    let link = PathBuf::from(std::ffi::OsStr::from_bytes(link.as_bytes()));
                    path = path.parent().unwrap_or(Path::new("")).join(link);
                }
                // It is not there, or something else than a link.
                Err(Errno::NOENT | Errno::INVAL) => return Ok(target),
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
            shown: self.shown(path),
        })
    }
}

/// Whether a link is its owner's business: in a directory that is everybody's to write to, such as `/tmp`, it may be a trap.
fn is_trusted(link: &Target) -> Result<bool, Errno> {
    const EVERYBODYS: u32 = 0o1002;
    let above = rustix::fs::fstat(&link.directory)?;
    let owner = rustix::fs::statat(&link.directory, &link.name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
    let ours = rustix::process::geteuid().as_raw();
    Ok(above.st_mode & EVERYBODYS != EVERYBODYS || owner == ours || owner == above.st_uid)
}

/// Whether a path can only mean a directory: `x/`, `x/.`, `x/..`.
pub(super) fn says_directory(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    matches!(
        text.rsplit(|&byte| byte == b'/').next(),
        Some(b"" | b"." | b"..")
    )
}

/// What is no file's place is not replaced, and not written to unless the caller names it.
pub(super) fn refuse(shown: &Path, kind: FileType) -> Error {
    Error::copying(
        "copy to",
        shown,
        match kind {
            FileType::CharacterDevice => "it is a character device",
            FileType::BlockDevice => "it is a block device",
            FileType::Fifo => "it is a pipe",
            FileType::Socket => "it is a socket",
            _ => "it is no file",
        },
    )
}

pub(super) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Opens what is at a name, as a mere handle, without following it.
pub(super) fn look(
    directory: impl AsFd,
    name: impl rustix::path::Arg,
) -> Result<(OwnedFd, Stat), Errno> {
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

/// The names in an open directory, in order. [`Errno::OVERFLOW`]: more than anybody has.
pub(super) fn names(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let mut names = vec![];
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(OsString::from_vec(name.to_bytes().to_vec()));
        }
        if names.len() > MOST_NAMES {
            return Err(Errno::OVERFLOW);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Looks at a name without following it.
pub(super) fn kind(target: &Target) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(&target.directory, &target.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether something was there a moment ago and is not any more.
pub(super) fn has_vanished(errno: Errno) -> bool {
    // The last two: of a process, and of a file on another machine.
    matches!(errno, Errno::NOENT | Errno::SRCH | Errno::STALE)
}

/// File systems that hold no files but the kernel's own view of itself.
pub(super) fn is_kernels(directory: impl AsFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| is_of_the_kernel(&found))
}
