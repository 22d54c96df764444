//! Another name for a container, also for one that runs.
//!
//! The process that watches a container knows the directories by descriptor: when the container ends it asks the kernel what they
//! are called by then. A lock on the bundle's directory keeps the two from crossing.
//!
//! Two directories are moved then, the bundle and after it the state. So that a box that is killed in between leaves nothing that
//! looks like a container that does not run, the bundle has a note of the name it comes from while it is moved, and whoever
//! comes across the note next does the rest.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, readlinkat, symlinkat};
use rustix::io::Errno;

use super::live::Live;
use super::names;
use super::{Container, Containers};
use crate::Error;
use crate::container::state::{RunDir, State};

impl Containers {
    /// Gives a container another name. One that is just being started or removed is busy.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let mut container = self.get(name)?;
        let claimed = self.claim(new)?;
        let renamed = match container.hold() {
            Ok(()) => rename(&container.dir, &self.dir().join(new)),
            Err(Error::Running { .. }) => {
                return match self.rename_running(container, new) {
                    // The claimed directory was replaced by the one of the container.
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
        let _place = lock(&container.dir)?;
        let live = Live::find(self.run(), name)?.ok_or_else(busy)?;
        let state = State::read(self.run(), name)?.ok_or_else(busy)?;
        // What the start writes last is there, so that nothing is written under the old name any more.
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
        // If it cannot be removed, that is for whoever comes across it.
        Note::remove(place).ok();
        moved
    }

    /// If the box that gave a running container this name was killed before the state had it, too: moves the state.
    pub(super) fn finish_rename(&self, name: &str) -> Result<(), Error> {
        let dir = self.dir().join(name);
        if Note::read(&dir)?.is_none() {
            return Ok(());
        }
        // Whoever is at it now, and alive, is done when this is ours.
        let _place = match lock(&dir) {
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
        // Another container may have the old name by now, or the same one with nobody left to watch it.
        let same = State::read(self.run(), &note.name)?.is_some_and(|state| note.is_about(&state));
        if !same || !RunDir::is_held(self.run(), &note.name)? {
            return Ok(());
        }
        // Nobody else is at the directory that is replaced while its lock is ours.
        let Some(claimed) = RunDir::lock(self.run(), name)? else {
            return Err(Error::Busy {
                name: name.to_owned(),
            });
        };
        claimed.bury()?;
        rename(&self.run().join(&note.name), claimed.path())
    }

    /// The same for the one that was called `old` before. True: there was one.
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

    /// Locks the state of a container that is not to be found half renamed. `None`: somebody else holds it.
    pub(super) fn lock_state(&self, name: &str) -> Result<Option<RunDir>, Error> {
        loop {
            self.finish_rename(name)?;
            let held = RunDir::lock(self.run(), name)?;
            if held.is_none() || !self.is_half_renamed(name)? {
                return Ok(held);
            }
        }
    }

    /// Whether the state of the container may have its old name still. Whoever holds the lock of the new one lets it go then, and
    /// takes nothing away.
    pub(super) fn is_half_renamed(&self, name: &str) -> Result<bool, Error> {
        Ok(Note::read(&self.dir().join(name))?.is_some())
    }
}

/// A symbolic link in the bundle of a running container, from before it gets another name until it has it: the old name, and which
/// process the container is, as `PID.START-TIME.NAME`. A link is there whole or not at all.
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
            // None, or something that we did not make.
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

    /// In the place of one that was left there before anything was moved.
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
    /// Finds out how it is called now, and keeps it so while the returned value lives. `None`: its directory has gone.
    pub(super) fn keep_place(&mut self) -> Result<Option<OwnedFd>, Error> {
        loop {
            self.find_name();
            let place = match lock(&self.dir) {
                Ok(place) => place,
                Err(_) if self.find_name() => continue,
                Err(_) if self.bundle_went_ahead()? => continue,
                // The state may have followed between the two looks.
                Err(_) if self.find_name() => continue,
                Err(_) => return Ok(None),
            };
            if !self.find_name() {
                return Ok(Some(place));
            }
        }
    }

    /// The bundle has a new name, and the box that was to give it to the state was killed. True: the state has it now.
    fn bundle_went_ahead(&self) -> Result<bool, Error> {
        self.all.finish_rename_of(&self.name)
    }

    /// Takes the name that the locked state directory has now. True: it is another one than before.
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
    /// Where the kernel says that it is; nowhere if it was removed.
    fn current_path(&self) -> Option<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.descriptor().as_raw_fd());
        let path = std::fs::read_link(link).ok()?;
        path.symlink_metadata().is_ok().then_some(path)
    }
}

/// Keeps others from moving the bundle in this directory or writing into it, while the returned value lives.
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
