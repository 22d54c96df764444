//! One directory of a hierarchy: reads, writes and removal that say which file they were about.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

/// A control group in one hierarchy.
#[derive(Debug)]
pub struct Directory {
    /// The controller's name, or `cgroup` for the unified hierarchy.
    pub controller: &'static str,
    path: PathBuf,
}

/// Waits between attempts to remove a group: a process leaves its group a moment after its parent has seen it end.
const REMOVAL_WAITS: [u64; 10] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500];

impl Directory {
    /// Names it; nothing is looked at.
    pub fn new(controller: &'static str, path: PathBuf) -> Self {
        Self { controller, path }
    }

    /// Makes it, and the groups above it where they are missing. A group of that name which is left over from a
    /// crash and holds no process is replaced.
    pub fn create(controller: &'static str, path: PathBuf) -> io::Result<Self> {
        let directory = Self { controller, path };
        match rustix::fs::mkdirat(CWD, &directory.path, MODE) {
            Ok(()) => return Ok(directory),
            Err(Errno::NOENT) => {
                if let Some(parent) = directory.path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
            }
            Err(Errno::EXIST) => {
                if !directory.remove_if_empty()
                    && directory.pids().is_ok_and(|pids| !pids.is_empty())
                {
                    let text = format!("{} is in use by other processes", directory.path.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
                }
                directory
                    .remove_tree()
                    .map_err(|error| io::Error::other(error.to_string()))?;
            }
            Err(errno) => return Err(errno.into()),
        }
        rustix::fs::mkdirat(CWD, &directory.path, MODE)?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Opens the directory itself.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, &self.path, flags, Mode::empty())
            .map_err(|errno| Error::io("open cgroup", &self.path, errno))
    }

    /// Opens one of its files to be written later.
    pub fn open_for_writing(&self, file: &str) -> Result<OwnedFd, Error> {
        let path = self.path.join(file);
        rustix::fs::openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("open", &path, errno))
    }

    /// Writes one value with one write(2), as the kernel wants it.
    pub fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        self.set(file, value)
            .map_err(|errno| Error::io("write to", &self.path.join(file), errno))
    }

    /// The same with the bare reason.
    pub fn set(&self, file: &str, value: &str) -> Result<(), Errno> {
        let path = self.path.join(file);
        let descriptor =
            rustix::fs::openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&descriptor, value.as_bytes()).map(drop)
    }

    /// Reads a whole file.
    pub fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.path.join(file);
        std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))
    }

    /// The number in a file; none where it says `max`, holds no number or is not there.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// The number behind `key` in a file of lines `key number`.
    pub fn keyed(&self, file: &str, key: &str) -> Option<u64> {
        self.read(file).ok()?.lines().find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
    }

    /// The processes directly in it.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        Ok(self
            .read("cgroup.procs")?
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect())
    }

    /// The processes in it and in all groups below.
    pub fn all_pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for directory in self.tree() {
            // A group that vanishes while we look has no process.
            pids.extend(directory.pids().unwrap_or_default());
        }
        pids
    }

    /// Removes it; false when processes or groups are left in it.
    pub fn remove_if_empty(&self) -> bool {
        matches!(rustix::fs::rmdir(&self.path), Ok(()) | Err(Errno::NOENT))
    }

    /// Removes it and the groups below it, waiting for processes that are just ending.
    pub fn remove_tree(&self) -> Result<(), Error> {
        let mut failure = Errno::BUSY;
        for wait in REMOVAL_WAITS {
            sleep(Duration::from_millis(wait));
            let mut gone = true;
            for directory in self.tree().iter().rev() {
                match rustix::fs::rmdir(&directory.path) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => {
                        gone = false;
                        failure = errno;
                    }
                }
            }
            if gone {
                return Ok(());
            }
        }
        Err(Error::io("remove cgroup", &self.path, failure))
    }

    /// This group and all below it, parents first.
    fn tree(&self) -> Vec<Directory> {
        let mut all = vec![Self::new(self.controller, self.path.clone())];
        let mut next = 0;
        while next < all.len() {
            let entries = std::fs::read_dir(&all[next].path)
                .into_iter()
                .flatten()
                .flatten();
            let below: Vec<PathBuf> = entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect();
            all.extend(
                below
                    .into_iter()
                    .map(|path| Self::new(self.controller, path)),
            );
            next += 1;
        }
        all
    }
}

const MODE: Mode = Mode::from_raw_mode(0o755);
