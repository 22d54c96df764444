//! Unfinished trees: made aside under a lock, then renamed or removed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::tree::remove;

/// The name of a directory inside the one that it was moved to.
pub(crate) const TAKEN: &str = "tree";

/// The attribute of a directory that we made in another user's directory. Only the host's root can set it, see xattr(7).
const MARK: &str = "trusted.box.unpacking";

/// A directory that is being filled. Its descriptor has a flock(2) meanwhile, so that directories of killed processes can be
/// distinguished from those in use. When dropped before it is renamed, it is removed with everything in it.
#[derive(Debug)]
pub(crate) struct Staging {
    parent: OwnedFd,
    dir: OwnedFd,
    name: String,
    path: PathBuf,
    renamed: bool,
}

impl Staging {
    /// A new, empty directory in `parent`, its name beginning with `prefix`.
    pub fn create(parent: &Path, prefix: &str) -> Result<Staging, Error> {
        let parent_fd = open_directory(parent)?;
        loop {
            // A number that nobody can guess: the parent may be another user's.
            let name = format!("{prefix}{}-{}", std::process::id(), random()?);
            let path = parent.join(&name);
            match rustix::fs::mkdirat(&parent_fd, &*name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) => continue,
                other => other.map_err(|errno| Error::io("create directory", &path, errno))?,
            }
            let failed = |errno| Error::io("lock directory", &path, errno);
            if let Some(dir) = lock_entry(&parent_fd, &name).map_err(failed)?
                && is_just_made(&dir).map_err(failed)?
            {
                return Ok(Staging {
                    parent: parent_fd,
                    dir,
                    name,
                    path,
                    renamed: false,
                });
            }
            // A sweep took it for an abandoned one before it was locked, or another user has replaced it.
        }
    }

    /// Moves an existing directory out of sight, to be removed. `None` if it does not exist.
    pub fn take(from: &Path, parent: &Path, prefix: &str) -> Result<Option<Staging>, Error> {
        let staging = Staging::create(parent, prefix)?;
        let name = format!("{}/{TAKEN}", staging.name);
        match rustix::fs::renameat(rustix::fs::CWD, from, &staging.parent, &*name) {
            Ok(()) => Ok(Some(staging)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("remove", from, errno)),
        }
    }

    /// Whether this is still the directory that was made, and no other user can change it. In another user's directory, that user can
    /// swap it for another one before it is opened.
    pub fn is_private(&self) -> Result<bool, Error> {
        let looked = || -> Result<bool, Errno> {
            let own = rustix::process::geteuid().as_raw();
            if is_ours_alone(&self.parent)? {
                return Ok(true);
            }
            let stat = rustix::fs::fstat(&self.dir)?;
            let closed = stat.st_uid == own && stat.st_mode & 0o077 == 0;
            Ok(closed && remove::any_name(&self.dir)?.is_none())
        };
        looked().map_err(|errno| Error::io("look at", &self.path, errno))
    }

    /// Marks it, so that it is swept even in another user's directory if this process is killed. Without support for attributes, it
    /// would stay there.
    pub fn mark(&self) {
        let path = own_name(&self.dir);
        if let Err(errno) = rustix::fs::setxattr(path, MARK, b"1", XattrFlags::empty()) {
            tracing::debug!(path = %self.path.display(), %errno, "an unfinished tree has no mark");
        }
    }

    /// Abandons the directory without removing it.
    pub fn leave(&mut self) {
        self.renamed = true;
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Another descriptor for the directory.
    pub fn duplicate(&self) -> Result<OwnedFd, Error> {
        rustix::io::fcntl_dupfd_cloexec(&self.dir, 0)
            .map_err(|errno| Error::io("open", &self.path, errno))
    }

    /// Renames the directory. Returns false if the name is taken.
    pub fn rename(&mut self, to: &Path) -> Result<bool, Error> {
        let (cwd, flags) = (rustix::fs::CWD, RenameFlags::NOREPLACE);
        let renamed = match rustix::fs::renameat_with(&self.parent, &*self.name, cwd, to, flags) {
            // Some file systems do not support flags. There, an empty directory is replaced, but nothing else.
            Err(Errno::INVAL) => rustix::fs::renameat(&self.parent, &*self.name, cwd, to),
            other => other,
        };
        match renamed {
            Ok(()) => {
                self.renamed = true;
                Ok(true)
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(errno) => Err(Error::io("rename a new tree to", to, errno)),
        }
    }

    /// Removes the directory, and reports failures.
    pub fn remove(mut self) -> Result<(), Error> {
        self.renamed = true;
        let name = self.name.as_bytes();
        let removed = match is_ours_alone(&self.parent) {
            Ok(true) => remove::large_tree(&self.parent, name),
            _ => remove_ours(&self.parent, &self.dir, name),
        };
        removed.map_err(|errno| Error::io("remove", &self.path, errno))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(error) = remove_ours(&self.parent, &self.dir, self.name.as_bytes()) {
            tracing::debug!(path = %self.path.display(), %error, "an unfinished tree remains until it is swept");
        }
    }
}

/// Removes the unlocked directories in `parent` with names that [`Staging::create`] makes from `prefix`, and returns their number. If
/// the prefix is empty, all directories are ours. In a directory that another user can change, a name proves nothing, as that user
/// can give it to any directory: only directories with our mark are swept there, and by descriptor.
pub(crate) fn sweep(parent: &Path, prefix: &str) -> Result<usize, Error> {
    let failed = |errno: Errno| Error::io("sweep", parent, errno);
    let dir = match open_directory(parent) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(0);
        }
        other => other?,
    };
    let anybodys = !prefix.is_empty() && !is_ours_alone(&dir).map_err(failed)?;
    let mut swept = 0;
    remove::each_name(&dir, failed, |name| {
        let text = std::str::from_utf8(name)
            .ok()
            .filter(|text| prefix.is_empty() || text.strip_prefix(prefix).is_some_and(is_number));
        let locked = text.map(|text| lock_entry(&dir, text)).transpose();
        let Some(locked) = locked.map_err(failed)?.flatten() else {
            return Ok(false);
        };
        if anybodys && !is_marked(&locked) {
            return Ok(false);
        }
        remove_ours(&dir, &locked, name).map_err(failed)?;
        swept += 1;
        Ok(true)
    })?;
    Ok(swept)
}

/// Whether no other user can rename what is in a directory.
fn is_ours_alone(dir: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(dir)?;
    let closed = stat.st_mode & 0o022 == 0 || stat.st_mode & 0o1000 != 0;
    Ok(stat.st_uid == rustix::process::geteuid().as_raw() && closed)
}

/// Removes a directory of ours that had this name. Anything to which another user has given the name since stays, unless it is an
/// empty directory.
fn remove_ours(parent: &OwnedFd, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    if is_ours_alone(parent)? {
        return remove::tree(parent, name);
    }
    remove::contents(dir)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn is_marked(dir: &OwnedFd) -> bool {
    rustix::fs::getxattr(own_name(dir), MARK, &mut [0u8; 8][..]).is_ok()
}

fn own_name(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

fn random() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    got.map_err(|errno| Error::io("get a random number for", Path::new("a name"), errno))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Whether it belongs to us, is closed to others, and is empty.
fn is_just_made(dir: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(dir)?;
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    Ok(ours && stat.st_mode & 0o077 == 0 && remove::any_name(dir)?.is_none())
}

/// Whether a text is the unique part of a name: a process id and a number.
fn is_number(text: &str) -> bool {
    text.split_once('-')
        .is_some_and(|(pid, number)| pid.parse::<u32>().is_ok() && number.parse::<u64>().is_ok())
}

/// The unlocked directories in `parent`.
pub(crate) fn leftovers(parent: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |errno: Errno| Error::io("list", parent, errno);
    let dir = match open_directory(parent) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut found = Vec::new();
    remove::each_name(&dir, failed, |name| {
        if let Ok(text) = std::str::from_utf8(name)
            && lock_entry(&dir, text).map_err(failed)?.is_some()
        {
            found.push(parent.join(text));
        }
        Ok(false)
    })?;
    Ok(found)
}

/// Opens and locks a directory by name. `None` if another process has it locked, or if it is gone.
fn lock_entry(parent: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other?,
    };
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other?,
    }
    let held = rustix::fs::fstat(&dir)?;
    match rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino) => Ok(Some(dir)),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR => Error::NotDirectory(path.to_owned()),
        errno => Error::io("open directory", path, errno),
    })
}
