//! What a container is doing now: a state file in the run directory, believed only together with the kernel.
//!
//! `<run>/<name>/` is locked (flock(2)) by the process that supervises the container for as long as it lives, and
//! `state.json` in there says which process that is about. A free lock means that nothing runs, whatever the file says.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::start_time;
use crate::Error;
use crate::files::{self, removal};
use box_run::ExitStatus;
use box_run::cgroup::Cgroup;

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum Status {
    /// Made and not started since.
    Created,
    /// Its command runs.
    Running {
        /// The container's first process, in the caller's pid namespace.
        pid: i32,
    },
    /// Its processes are frozen.
    Paused {
        /// The container's first process, in the caller's pid namespace.
        pid: i32,
    },
    /// Its command ended.
    Exited {
        /// How.
        exit: ExitStatus,
    },
    /// It ran, and nobody saw how it ended.
    Lost {
        /// Why nobody saw it: a reboot, or the end of its supervisor.
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
    /// The container's first process, in the pid namespace of its supervisor.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: with the pid it names a process for as long as the machine is up.
    pub start_time: u64,
    /// The supervisor: the foreground `box run`, or the monitor.
    pub monitor: i32,
    /// Whether the command was let go.
    pub running: bool,
    /// Seconds since the epoch.
    pub started: u64,
    /// The container's control group, as the `cgroupsPath` of the spec says it.
    pub cgroup: Option<PathBuf>,
}

/// How long somebody who takes a short look, or is about to end, may hold a lock.
const PATIENCE: Duration = Duration::from_millis(500);

/// The name of the note about the control group.
const GROUP: &str = "cgroup";

/// All that is usually there: the bundle of a container that goes with its command too.
const FILES: [&str; 4] = [GROUP, "state.json", "config.json", "instance.json"];

/// The held lock of `<run>/<name>/`.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: File,
}

impl RunDir {
    /// Makes and locks `<run>/<name>`. `None`: someone else holds it.
    pub fn lock(run: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = run.join(name);
        let deadline = Instant::now() + PATIENCE;
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
            // Held by a container's supervisor, for as long as that runs, or by somebody who takes a short look, such as a
            // process that dies with its killed supervisor before it has executed the command.
            let runs = State::read(run, name)?
                .is_some_and(|state| state.is_alive() && start_time(state.monitor).is_ok());
            if runs || Instant::now() >= deadline {
                return Ok(None);
            }
            // A lock that was removed is not waited for.
            if path.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Locks `<run>/<name>` if it is there and free.
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
        // Whoever held it before may have removed it while we waited for the open.
        let ours = rustix::fs::fstat(&lock).map_err(|errno| Error::io("look at", &path, errno))?;
        Ok((ours.st_nlink > 0).then_some(Self { path, lock }))
    }

    /// Whether somebody holds the lock of `<run>/<name>`.
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

    /// It was renamed.
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

    /// Notes the control group that is about to be made, so that it can be found should its maker be killed before there is
    /// a process to write a state about. A symbolic link, as that is there whole or not at all.
    pub(crate) fn note_group(&self, cgroup: &Path) -> Result<(), Error> {
        match rustix::fs::symlinkat(cgroup, &self.lock, GROUP) {
            Ok(()) => Ok(()),
            Err(errno) => Err(Error::io("write", &self.path.join(GROUP), errno)),
        }
    }

    /// Takes away what a supervisor left that was killed: the lock is ours, so nobody else looks after it.
    pub(crate) fn bury(&self) -> Result<(), Error> {
        match rustix::fs::readlinkat(&self.lock, GROUP, vec![]) {
            Ok(cgroup) => Cgroup::open(OsStr::from_bytes(cgroup.to_bytes()).as_ref())?.remove()?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::io("read", &self.path.join(GROUP), errno)),
        }
        removal::remove_tree(&self.path.join("waiters"))?;
        self.remove_files()
    }

    /// Its usual files, by name.
    fn remove_files(&self) -> Result<(), Error> {
        for name in FILES {
            match rustix::fs::unlinkat(&self.lock, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("remove", &self.path.join(name), errno)),
            }
        }
        Ok(())
    }

    /// Takes the directory away, and the lock with it.
    pub fn remove(self) -> Result<(), Error> {
        self.remove_files()?;
        // Whatever else is there is for the thorough removal.
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(_) => removal::remove_tree(&self.path),
        }
    }
}

impl State {
    /// Whether the container's first process is there.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid).is_ok_and(|time| time == self.start_time)
    }

    /// Reads `<run>/<name>/state.json`; `None` if it is not there.
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
