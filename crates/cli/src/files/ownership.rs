//! Which files box trusts without being asked to read them.
//!
//! `box.lock` in the working directory, `config.toml` and `trusted-keys/` decide what an image is and who may sign it. A user who could
//! leave such a file where somebody else works would decide that for them (git's CVE-2022-24765). Therefore each is read only if it
//! belongs to root, to the caller or, under sudo(8), to the user who called sudo, and if nobody else can write to it. The same holds
//! for its directory, and for each symbolic link on the way and the directory of that.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::report::{Failure, cause};

/// Number of symbolic links in a row that the kernel follows, path_resolution(7).
pub const MOST_LINKS: usize = 40;

/// Maximal size of such a file, in bytes.
const LIMIT: u64 = 4 << 20;

/// `S_ISVTX`, inode(7).
const STICKY: u32 = 0o1000;

/// The users and groups whose files are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Owners {
    /// Root, the caller, and the user who called sudo(8) to become root.
    pub fn of_this_process() -> Owners {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let behind = |name| user.is_root().then(|| number(name)).flatten();
        let known = |me: u32, behind: Option<u32>| [0, me].into_iter().chain(behind).collect();
        Owners {
            users: known(user.as_raw(), behind("SUDO_UID")),
            groups: known(group.as_raw(), behind("SUDO_GID")),
        }
    }

    /// Whether one of them is the owner.
    pub fn own(&self, uid: u32) -> bool {
        self.users.contains(&uid)
    }

    /// Why other users control the content, if they do.
    fn doubt(&self, stat: &Stat) -> Option<String> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !self.own(stat.st_uid) {
            return Some(format!("belongs to user {}", stat.st_uid));
        }
        // The mode of a link means nothing. In a sticky directory nobody can replace the files of others, inode(7).
        let guarded =
            kind == FileType::Symlink || kind == FileType::Directory && stat.st_mode & STICKY != 0;
        let by_others = stat.st_mode & 0o002 != 0;
        let by_group = stat.st_mode & 0o020 != 0 && !self.groups.contains(&stat.st_gid);
        match (guarded, by_others, by_group) {
            (false, true, _) => Some("is writable by everybody".to_owned()),
            (false, false, true) => Some(format!("is writable by group {}", stat.st_gid)),
            _ => None,
        }
    }
}

/// Reads a file that the user did not name. `None` if it does not exist. Fails if another user controls its content; `hint` says how
/// to use it anyway.
pub fn read(path: &Path, hint: &str) -> Result<Option<String>, Failure> {
    let failed = |error| unreadable(path, &error);
    let file = match find(path, &Owners::of_this_process()) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(Problem::Io(error)) => return Err(failed(error)),
        Err(Problem::Doubt { at, why }) => return Err(untrusted(path, &at, &why, hint)),
    };
    let mut text = String::new();
    let read = file.take(LIMIT + 1).read_to_string(&mut text);
    match read.map_err(failed)? as u64 {
        ..=LIMIT => Ok(Some(text)),
        _ => Err(failed(io::Error::other("it is too large"))),
    }
}

/// Fails if another user controls the content of a file that somebody else will read. A file that cannot be opened is left to them.
pub fn check(path: &Path, hint: &str) -> Result<(), Failure> {
    match find(path, &Owners::of_this_process()) {
        Ok(_) | Err(Problem::Io(_)) => Ok(()),
        Err(Problem::Doubt { at, why }) => Err(untrusted(path, &at, &why, hint)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {}", path.display(), cause(error)))
}

fn untrusted(path: &Path, at: &Path, why: &str, hint: &str) -> Failure {
    let place = match at == path {
        true => "it".to_owned(),
        false => at.display().to_string(),
    };
    Failure::new(format!("cannot trust {}: {place} {why}", path.display())).hint(hint)
}

/// Why a file cannot be read.
enum Problem {
    Io(io::Error),
    Doubt { at: PathBuf, why: String },
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Problem {
        Problem::Io(errno.into())
    }
}

/// Opens a trusted regular file, if all links and directories on the way are trusted too.
fn find(path: &Path, owners: &Owners) -> Result<Option<File>, Problem> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some((directory, at)) = directory_of(&path)? else {
            return Ok(None);
        };
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        let check = |stat: &Stat, at: &Path| match owners.doubt(stat) {
            None => Ok(()),
            Some(why) => Err(Problem::Doubt {
                at: at.to_owned(),
                why,
            }),
        };
        // Non-blocking, in case it is a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let link = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
                check(&rustix::fs::fstat(&link)?, &path)?;
                check(&rustix::fs::fstat(&directory)?, &at)?;
                path = at.join(target_of(&link)?);
            }
            Err(errno) => return Err(errno.into()),
            Ok(opened) => {
                let file = File::from(opened);
                let stat = rustix::fs::fstat(&file)?;
                if !file.metadata().map_err(Problem::Io)?.is_file() {
                    let why = "it is not a regular file";
                    return Err(Problem::Io(io::Error::other(why)));
                }
                check(&stat, &path)?;
                check(&rustix::fs::fstat(&directory)?, &at)?;
                return Ok(Some(file));
            }
        }
    }
    Err(Errno::LOOP.into())
}

/// Opens the directory of a path's last component. `None` if it does not exist.
fn directory_of(path: &Path) -> Result<Option<(OwnedFd, PathBuf)>, Errno> {
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    match open_directory(above) {
        Ok(directory) => Ok(Some((directory, above.to_owned()))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory in order to access files in it.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// The target of an open symbolic link.
pub fn target_of(link: impl AsFd) -> Result<PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let target = rustix::fs::readlinkat(link, c"", Vec::new())?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}
