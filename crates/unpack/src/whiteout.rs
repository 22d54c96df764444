//! Whiteouts: how a layer deletes files of lower layers.
//!
//! Archives use special names (<https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>), the
//! kernel's overlay with character devices 0:0 and an attribute of directories
//! (<https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories>).

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::entry::{Entry, EntryKind, Problem, Time};
use crate::metadata::times;
use crate::tree::{Doing, Failure};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The meaning of a whiteout entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whiteout<'a> {
    /// Deletes one name in a directory.
    Name {
        /// The directory's path.
        directory: &'a [u8],
        /// The name.
        name: &'a [u8],
    },
    /// Deletes everything that lower layers have in a directory.
    Opaque {
        /// The directory's path.
        directory: &'a [u8],
    },
}

impl<'a> Whiteout<'a> {
    /// Returns the whiteout if an entry is one. Malformed whiteouts are refused.
    pub fn of(entry: &'a Entry) -> Result<Option<Whiteout<'a>>, Problem> {
        let Some((directory, base)) = entry.path.split() else {
            return Ok(None);
        };
        if directory
            .split(|&b| b == b'/')
            .any(|component| component.starts_with(PREFIX))
        {
            return Err(Problem::Whiteout("a directory on the path is named as one"));
        }
        let Some(name) = base.strip_prefix(PREFIX) else {
            return match &entry.kind {
                EntryKind::HardLink { target } if names_whiteout(target.as_bytes()) => {
                    Err(Problem::Whiteout("a hard link to one"))
                }
                _ => Ok(None),
            };
        };
        // Early layered file systems created them as hard links to one empty file.
        if !matches!(
            entry.kind,
            EntryKind::File { .. } | EntryKind::HardLink { .. }
        ) {
            return Err(Problem::Whiteout("it is not a regular file"));
        }
        match name {
            b"" | b"." | b".." => Err(Problem::Whiteout("it names nothing that can be removed")),
            _ if base == OPAQUE => Ok(Some(Whiteout::Opaque { directory })),
            _ if name.starts_with(PREFIX) => Err(Problem::Whiteout("it names another whiteout")),
            name => Ok(Some(Whiteout::Name { directory, name })),
        }
    }
}

fn names_whiteout(path: &[u8]) -> bool {
    path.split(|&b| b == b'/')
        .any(|component| component.starts_with(PREFIX))
}

/// Whether this is one of the overlay's own marks for a whiteout.
pub(crate) fn is_whiteout(dir: &OwnedFd, name: impl Arg, stat: &Stat) -> Result<bool, Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Ok(stat.st_rdev == 0),
        FileType::RegularFile if stat.st_size == 0 => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            is_set(&file, WHITEOUT_ATTRIBUTE)
        }
        _ => Ok(false),
    }
}

/// Whether a directory has the overlay's mark for opaque ones: the mark for an overlay that this process's user mounts, which ignores
/// the other one.
pub(crate) fn is_opaque(dir: &OwnedFd) -> Result<bool, Errno> {
    is_set(dir, opaque_attribute())
}

fn is_set(fd: &OwnedFd, attribute: &str) -> Result<bool, Errno> {
    let mut value = [0; 1];
    match rustix::fs::fgetxattr(fd, attribute, &mut value) {
        Ok(count) => Ok(count == 1 && value == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Writes the overlay's marks.
#[derive(Debug)]
pub(crate) struct Marks {
    opaque: &'static str,
    /// Whether any mark was written.
    pub any: bool,
}

/// The attribute of an opaque directory, for privileged mounts and for those with the option `userxattr`.
const OPAQUE_ATTRIBUTES: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// The one for overlays that this process's user can mount.
fn opaque_attribute() -> &'static str {
    OPAQUE_ATTRIBUTES[usize::from(!rustix::process::geteuid().is_root())]
}

/// The other mark for a whiteout, on an empty file, for file systems that do not accept a device 0:0, such as an overlay itself (Linux
/// 6.7 and later).
const WHITEOUT_ATTRIBUTE: &str = "trusted.overlay.whiteout";

impl Marks {
    /// For overlays that this process's user can mount.
    pub fn for_this_process() -> Marks {
        Marks {
            opaque: opaque_attribute(),
            any: false,
        }
    }

    /// Marks this directory as opaque.
    pub fn set_opaque(&mut self, dir: &OwnedFd) -> Result<(), Failure> {
        self.any = true;
        rustix::fs::fsetxattr(dir, self.opaque, b"y", XattrFlags::empty())
            .doing("mark the directory opaque")
    }

    /// Hides one name of lower layers. A file of this layer with that name stays, as whiteouts only affect lower layers; a directory
    /// becomes opaque.
    pub fn hide(&mut self, dir: &OwnedFd, name: &[u8], mtime: Time) -> Result<(), Failure> {
        self.any = true;
        match rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => rustix::fs::utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
                .doing("set the times"),
            Err(Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(dir, name, flags, Mode::empty()) {
                    Ok(directory) => self.set_opaque(&directory),
                    Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                    Err(errno) => Err(Failure::Kernel("open the directory it names", errno)),
                }
            }
            Err(Errno::PERM) => hide_by_attribute(dir, name, mtime),
            Err(errno) => Err(Failure::Kernel("create the whiteout", errno)),
        }
    }
}

fn hide_by_attribute(dir: &OwnedFd, name: &[u8], mtime: Time) -> Result<(), Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).doing("create the whiteout")?;
    rustix::fs::fsetxattr(&file, WHITEOUT_ATTRIBUTE, b"y", XattrFlags::empty())
        .doing("mark the whiteout")?;
    rustix::fs::futimens(&file, &times(mtime)).doing("set the times")?;
    // This attribute makes listings of the directory look for such files. An opaque directory hides everything below anyway.
    match rustix::fs::fsetxattr(dir, OPAQUE_ATTRIBUTES[0], b"x", XattrFlags::CREATE) {
        Err(Errno::EXIST) => Ok(()),
        other => other.doing("mark the directory of a whiteout"),
    }
}
