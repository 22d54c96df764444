//! One directory of a hierarchy. Its errors name the file.

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

/// Waits between attempts to remove a group, in milliseconds: a process leaves its group a moment after its parent has seen it end.
const REMOVAL_WAITS: [u64; 10] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500];

impl Directory {
    /// Makes a value without looking at the host.
    pub fn new(controller: &'static str, path: PathBuf) -> Self {
        Self { controller, path }
    }

    /// Makes the directory, and missing ones above it. An existing one without processes, left over from a crash, is replaced.
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

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Opens the directory itself.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, &self.path, flags, Mode::empty())
            .map_err(|errno| Error::io("open cgroup", &self.path, errno))
    }

    /// Opens one of its files for writing.
    pub fn open_for_writing(&self, file: &str) -> Result<OwnedFd, Error> {
        let path = self.path.join(file);
        rustix::fs::openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("open", &path, errno))
    }

    /// Writes a value with a single write(2), as the kernel demands.
    pub fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        self.set(file, value)
            .map_err(|errno| Error::io("write to", &self.path.join(file), errno))
    }

    /// Like [`write`](Self::write), but fails with the bare error number.
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

    /// The number in a file; `None` if it is `max` or another text, or if the file does not exist.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// The number after `key` in a file of lines `key number`.
    pub fn keyed(&self, file: &str, key: &str) -> Option<u64> {
        self.read(file).ok()?.lines().find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
    }

    /// The pids of the processes directly in it.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        Ok(self
            .read("cgroup.procs")?
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect())
    }

    /// The pids of the processes in it and in all groups below.
    pub fn all_pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for directory in self.tree() {
            // A group that disappears meanwhile has no process.
            pids.extend(directory.pids().unwrap_or_default());
        }
        pids
    }

    /// Removes it. Returns false if processes or groups are left in it.
    pub fn remove_if_empty(&self) -> bool {
        matches!(rustix::fs::rmdir(&self.path), Ok(()) | Err(Errno::NOENT))
    }

    /// Removes it and the groups below it, and waits for processes that are ending.
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

    /// This directory and all below it, parents first.
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
