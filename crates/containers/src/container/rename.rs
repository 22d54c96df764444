//! Renaming of containers, running ones included.
//!
//! The supervisor of a container holds the directories by descriptor: when the container ends, it asks the kernel for their current
//! names. A lock on the bundle's directory serializes the two.
//!
//! A rename moves two directories, first the bundle, then the state. If box is killed in between, a running container must not look
//! like a stopped one. So the bundle contains a note with the old name while it is moved, and the next process that finds the note
//! completes the rename.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, readlinkat, symlinkat};
use rustix::io::Errno;

use super::live::Live;
use super::names;
use super::{Container, Containers};
use crate::Error;
use crate::container::state::{RunDir, State};
use crate::files::descriptor::path_of;

impl Containers {
    /// Renames a container. It is busy while it is being started or removed.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let mut container = self.get(name)?;
        let claimed = self.claim(new)?;
        let renamed = match container.hold() {
            Ok(()) => rename(&container.dir, &self.dir().join(new)),
            Err(Error::Running { .. }) => {
                return match self.rename_running(container, new) {
                    // The container's state directory has replaced the claimed one.
                    Ok(()) => Ok(()),
                    Err(error) => claimed.remove().and(Err(error)),
                };
            }
            Err(error) => Err(error),
        };
        claimed.remove().and(renamed)
    }

    fn rename_running(&self, container: Container, new: &str) -> Result<(), Error> {
        let name = container.name.as_str();
        let busy = || Error::Busy {
            name: name.to_owned(),
        };
        let _lock = lock(&container.dir)?;
        let live = Live::find(self.run(), name)?.ok_or_else(busy)?;
        let state = State::read(self.run(), name)?.ok_or_else(busy)?;
        // The start has written its last file, so nothing is written under the old name any more.
        let record = self.find(name)?.record.clone();
        let complete = record.remove
            || record
                .started
                .is_some_and(|started| started.at == state.started);
        if !complete || live.pid() != state.pid {
            return Err(busy());
        }
        let target = self.dir().join(new);
        Note::of(name, &state).write(&container.dir)?;
        let moved = rename(&container.dir, &target).and_then(|()| {
            rename(&self.run().join(name), &self.run().join(new))
                .or_else(|error| rename(&target, &container.dir).and(Err(error)))
        });
        let place = if moved.is_ok() {
            &target
        } else {
            &container.dir
        };
        // If it cannot be removed, the next process that finds it does.
        Note::remove(place).ok();
        moved
    }

    /// Completes the rename of a running container to this name if the process that began it was killed before it moved the state.
    pub(super) fn finish_rename(&self, name: &str) -> Result<(), Error> {
        let dir = self.dir().join(name);
        if Note::read(&dir)?.is_none() {
            return Ok(());
        }
        // If another process is renaming the container, it is done once we have the lock.
        let _lock = match lock(&dir) {
            Err(Error::Run(box_run::Error::Io { source, .. }))
                if source.kind() == ErrorKind::NotFound =>
            {
                return Ok(());
            }
            place => place?,
        };
        let Some(note) = Note::read(&dir)? else {
            return Ok(());
        };
        if note.name != name && names::check(&note.name).is_ok() {
            self.move_state(&note, name)?;
        }
        Note::remove(&dir)
    }

    fn move_state(&self, note: &Note, name: &str) -> Result<(), Error> {
        // Another container may have the old name by now, or the supervisor may be gone.
        let same = State::read(self.run(), &note.name)?.is_some_and(|state| note.is_about(&state));
        if !same || !RunDir::is_held(self.run(), &note.name)? {
            return Ok(());
        }
        // The lock of the directory that is replaced keeps others away from it.
        let Some(claimed) = RunDir::lock(self.run(), name)? else {
            return Err(Error::Busy {
                name: name.to_owned(),
            });
        };
        claimed.clean_up()?;
        rename(&self.run().join(&note.name), claimed.path())
    }

    /// The same for the container that had the name `old`. Returns whether there was one.
    pub(super) fn finish_rename_of(&self, old: &str) -> Result<bool, Error> {
        let Ok(entries) = std::fs::read_dir(self.dir()) else {
            return Ok(false);
        };
        for entry in entries.flatten() {
            let note = Note::read(&entry.path())?;
            if let Ok(name) = entry.file_name().into_string()
                && note.is_some_and(|note| note.name == old)
                && name != old
            {
                self.finish_rename(&name)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Completes an interrupted rename, then locks the state of the container; `None` if another process holds it.
    pub(super) fn lock_state(&self, name: &str) -> Result<Option<RunDir>, Error> {
        loop {
            self.finish_rename(name)?;
            let held = RunDir::lock(self.run(), name)?;
            if held.is_none() || !self.is_half_renamed(name)? {
                return Ok(held);
            }
        }
    }

    /// Whether the state of the container may still have the old name. If so, the holder of the new name's lock must release it and
    /// remove nothing.
    pub(super) fn is_half_renamed(&self, name: &str) -> Result<bool, Error> {
        Ok(Note::read(&self.dir().join(name))?.is_some())
    }
}

/// A symbolic link in the bundle of a running container while it is renamed: its init process and its old name, as
/// `PID.START-TIME.NAME`. A link is created atomically.
struct Note {
    name: String,
    pid: i32,
    start_time: u64,
}

impl Note {
    const FILE: &str = "renamed-from";

    fn of(name: &str, state: &State) -> Self {
        Self {
            name: name.to_owned(),
            pid: state.pid,
            start_time: state.start_time,
        }
    }

    fn is_about(&self, state: &State) -> bool {
        (self.pid, self.start_time) == (state.pid, state.start_time)
    }

    fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(Self::FILE);
        let text = match readlinkat(CWD, &path, vec![]) {
            Ok(text) => text,
            // There is no note, or something else has its name.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(Error::io("read", &path, errno)),
        };
        let parse = || {
            let mut words = text.to_str().ok()?.splitn(3, '.');
            Some(Self {
                pid: words.next()?.parse().ok()?,
                start_time: words.next()?.parse().ok()?,
                name: words.next()?.to_owned(),
            })
        };
        Ok(parse())
    }

    /// Replaces a note that was left behind before anything was moved.
    fn write(&self, dir: &Path) -> Result<(), Error> {
        Self::remove(dir)?;
        let path = dir.join(Self::FILE);
        let text = format!("{}.{}.{}", self.pid, self.start_time, self.name);
        symlinkat(text, CWD, &path).map_err(|errno| Error::io("create", &path, errno))
    }

    fn remove(dir: &Path) -> Result<(), Error> {
        let path = dir.join(Self::FILE);
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::io("remove", &path, errno)),
        }
    }
}

impl Container {
    /// Looks up the container's current name and keeps others from changing it while the returned value lives. `None` if its directory
    /// is gone.
    pub(super) fn keep_place(&mut self) -> Result<Option<OwnedFd>, Error> {
        loop {
            self.find_name();
            let place = match lock(&self.dir) {
                Ok(place) => place,
                Err(_) if self.find_name() => continue,
                Err(_) if self.bundle_went_ahead()? => continue,
                // The state may have been moved between the two checks.
                Err(_) if self.find_name() => continue,
                Err(_) => return Ok(None),
            };
            if !self.find_name() {
                return Ok(Some(place));
            }
        }
    }

    /// If the bundle was moved and the process that did it was killed: moves the state, too. Returns whether it did.
    fn bundle_went_ahead(&self) -> Result<bool, Error> {
        self.all.finish_rename_of(&self.name)
    }

    /// Takes over the current name of the locked state directory. Returns whether it has changed.
    fn find_name(&mut self) -> bool {
        let Some(path) = self.held.as_ref().and_then(RunDir::current_path) else {
            return false;
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| *name != self.name && names::check(name).is_ok())
        else {
            return false;
        };
        self.name = name.to_owned();
        self.dir.set_file_name(name);
        if let Some(held) = &mut self.held {
            held.moved_to(&path);
        }
        true
    }
}

impl RunDir {
    /// Its current path according to the kernel; `None` if it was removed.
    fn current_path(&self) -> Option<PathBuf> {
        let path = std::fs::read_link(path_of(self.descriptor())).ok()?;
        path.symlink_metadata().is_ok().then_some(path)
    }
}

/// Locks the bundle in this directory against renames and writes while the returned value lives.
pub(super) fn lock(dir: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(dir, flags, Mode::empty())
        .map_err(|errno| Error::io("open", dir, errno))?;
    flock(&place, FlockOperation::LockExclusive).map_err(|errno| Error::io("lock", dir, errno))?;
    Ok(place)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|error| Error::io("rename to", to, error))
}
