//! The state of a running container: a file in the run directory, which counts only while its lock is held.
//!
//! The supervisor of a container locks `<run>/<name>/` (flock(2)) for as long as it lives, and `state.json` in that directory names the
//! init process. If the lock is free, nothing runs, whatever the file says.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::{self, removal};
use box_host::process::Stat;
use box_run::ExitStatus;
use box_run::cgroup::Cgroup;

/// The status of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum Status {
    /// Created and never started.
    Created,
    /// Its command runs.
    Running {
        /// The container's init process, in the caller's pid namespace.
        pid: i32,
    },
    /// Its processes are frozen.
    Paused {
        /// The container's init process, in the caller's pid namespace.
        pid: i32,
    },
    /// Its command ended.
    Exited {
        /// How it ended.
        exit: ExitStatus,
    },
    /// It ran, and no supervisor recorded how it ended.
    Lost {
        /// A reboot, or the end of its supervisor.
        reason: String,
    },
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Created => out.write_str("created"),
            Self::Running { .. } => out.write_str("running"),
            Self::Paused { .. } => out.write_str("paused"),
            Self::Exited { exit } => write!(out, "exited ({})", exit.code()),
            Self::Lost { reason } => write!(out, "lost ({reason})"),
        }
    }
}

/// The content of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container's init process, in the pid namespace of its supervisor.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: together with the pid it identifies a process until the next reboot.
    pub start_time: u64,
    /// The supervisor: the foreground `box run`, or the monitor.
    pub monitor: i32,
    /// Whether the command was started.
    pub running: bool,
    /// Seconds since the epoch.
    pub started: u64,
    /// The container's control group, in the form of the spec's `cgroupsPath`.
    pub cgroup: Option<PathBuf>,
}

/// How long to wait for a lock that another process holds for a moment, or until it has ended.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The symbolic link that names the control group.
const GROUP: &str = "cgroup";

/// The files of a state directory, those of a bundle with `--rm` included.
const FILES: [&str; 4] = [GROUP, "state.json", "config.json", "instance.json"];

/// The locked directory `<run>/<name>/`.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: File,
}

impl RunDir {
    /// Creates and locks `<run>/<name>`; `None` if another process holds it.
    pub fn lock(run: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = run.join(name);
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => {
                    files::create_private_dir(run)?;
                    continue;
                }
                Err(errno) => return Err(Error::io("create directory", &path, errno)),
            }
            if let Some(held) = Self::lock_existing(run, name)? {
                return Ok(Some(held));
            }
            // A supervisor holds the lock for as long as its container runs; anybody else holds it for a moment, such as a process
            // that dies with its killed supervisor before it has executed the command.
            let runs = State::read(run, name)?
                .is_some_and(|state| state.is_alive() && Stat::of(state.monitor).is_ok());
            if runs || Instant::now() >= deadline {
                return Ok(None);
            }
            // A directory that was removed can be created again at once.
            if path.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Locks `<run>/<name>` if it exists and is free.
    pub fn lock_existing(run: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = run.join(name);
        let Some(lock) = open(&path)? else {
            return Ok(None);
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(Error::io("lock", &path, errno)),
        }
        // The previous holder may have removed it between our open and our lock.
        let ours = rustix::fs::fstat(&lock).map_err(|errno| Error::io("look at", &path, errno))?;
        Ok((ours.st_nlink > 0).then_some(Self { path, lock }))
    }

    /// Whether a process holds the lock of `<run>/<name>`.
    pub fn is_held(run: &Path, name: &str) -> Result<bool, Error> {
        let path = run.join(name);
        let Some(lock) = open(&path)? else {
            return Ok(false);
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(Error::io("lock", &path, errno)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The locked directory.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Notes that the directory was renamed.
    pub(crate) fn moved_to(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// Replaces `state.json`.
    pub fn write(&self, state: &State) -> Result<(), Error> {
        files::replace_json(&self.path.join("state.json"), state)
    }

    /// Reads `state.json`.
    pub fn read(&self) -> Result<Option<State>, Error> {
        files::read_json(&self.path.join("state.json"))
    }

    /// Records the control group before it is created, so that it is found if this process is killed before it writes the state.
    /// As a symbolic link, which is created atomically.
    pub(crate) fn note_group(&self, cgroup: &Path) -> Result<(), Error> {
        match rustix::fs::symlinkat(cgroup, &self.lock, GROUP) {
            Ok(()) => Ok(()),
            Err(errno) => Err(Error::io("write", &self.path.join(GROUP), errno)),
        }
    }

    /// Removes what a killed supervisor left behind. Nobody else does, as the lock is held here.
    pub(crate) fn clean_up(&self) -> Result<(), Error> {
        match rustix::fs::readlinkat(&self.lock, GROUP, vec![]) {
            Ok(cgroup) => Cgroup::open(OsStr::from_bytes(cgroup.to_bytes()).as_ref())?.remove()?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::io("read", &self.path.join(GROUP), errno)),
        }
        removal::remove_tree(&self.path.join("waiters"))?;
        self.remove_files()
    }

    /// Removes the usual files by name.
    fn remove_files(&self) -> Result<(), Error> {
        for name in FILES {
            match rustix::fs::unlinkat(&self.lock, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("remove", &self.path.join(name), errno)),
            }
        }
        Ok(())
    }

    /// Removes the directory, which releases the lock.
    pub fn remove(self) -> Result<(), Error> {
        self.remove_files()?;
        // The directory holds other files as well.
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(_) => removal::remove_tree(&self.path),
        }
    }
}

impl State {
    /// Whether the container's init process exists.
    pub fn is_alive(&self) -> bool {
        Stat::of(self.pid).is_ok_and(|stat| stat.start_time == self.start_time)
    }

    /// Reads `<run>/<name>/state.json`; `None` if it does not exist.
    pub fn read(run: &Path, name: &str) -> Result<Option<Self>, Error> {
        files::read_json(&run.join(name).join("state.json"))
    }
}

fn open(path: &Path) -> Result<Option<File>, Error> {
    match rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(lock) => Ok(Some(lock.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("open", path, errno)),
    }
}
