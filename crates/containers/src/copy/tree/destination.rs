//! What the path of a copy's destination means.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::Tree;
use crate::Error;
use crate::copy::entry::{Target, identity, stat_of};

/// What the path of a destination refers to.
pub(crate) enum Destination {
    /// A directory.
    Directory { directory: OwnedFd, shown: PathBuf },
    /// Another file, to be replaced.
    File(Target),
    /// A device or pipe of the host, or a file reached only through a descriptor, as `/dev/stdout`: to be written to.
    Open { file: OwnedFd, shown: PathBuf },
    /// Nothing; `wants_directory` if the path can only mean a directory.
    Missing {
        target: Target,
        wants_directory: bool,
    },
}

/// The most links that are followed, as by the kernel, path_resolution(7).
const MOST_LINKS: usize = 40;

impl Tree {
    /// What is at the path. Symbolic links are followed to where a new file would be created.
    pub(crate) fn destination(&self, path: &Path) -> Result<Destination, Error> {
        let failed = |errno| self.failed("copy to", path, errno);
        let wants_directory = says_directory(path);
        let there = match self.try_open(path, OFlags::PATH) {
            Ok(handle) => {
                let stat = rustix::fs::fstat(&handle).map_err(failed)?;
                self.check(&stat, path)?;
                Some((handle, stat))
            }
            // This includes a link to a file that does not exist.
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
        let named = stat_of(&target).ok().flatten();
        // Links such as /dev/stdout lead to files without a name.
        if host && named.is_none_or(|named| identity(&named) != identity(&stat)) {
            return Ok(Destination::Open {
                file: handle,
                shown,
            });
        }
        Ok(Destination::File(target))
    }

    /// The directory and the name that a path refers to once the links at its end are followed. On the host the rule of
    /// `protected_symlinks`, proc_sys_fs(5), is applied again, as a link may have been created since the kernel resolved the path.
    pub(crate) fn follow(&self, path: &Path) -> Result<Target, Error> {
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
                // Nothing, or no link.
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

/// Whether a link may be followed: in a directory that everybody can write to, such as `/tmp`, a link of another user may be a trap.
fn is_trusted(link: &Target) -> Result<bool, Errno> {
    const EVERYBODYS: u32 = 0o1002;
    let above = rustix::fs::fstat(&link.directory)?;
    let owner = rustix::fs::statat(&link.directory, &link.name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
    let ours = rustix::process::geteuid().as_raw();
    Ok(above.st_mode & EVERYBODYS != EVERYBODYS || owner == ours || owner == above.st_uid)
}

/// Whether a path can only mean a directory: `x/`, `x/.`, `x/..`.
pub(crate) fn says_directory(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    matches!(
        text.rsplit(|&byte| byte == b'/').next(),
        Some(b"" | b"." | b"..")
    )
}

/// The error for a destination of a kind that is neither replaced nor written to.
pub(crate) fn refuse(shown: &Path, kind: FileType) -> Error {
    Error::copy(
        "copy to",
        shown,
        match kind {
            FileType::CharacterDevice => "it is a character device",
            FileType::BlockDevice => "it is a block device",
            FileType::Fifo => "it is a pipe",
            FileType::Socket => "it is a socket",
            _ => "it is not a regular file",
        },
    )
}
