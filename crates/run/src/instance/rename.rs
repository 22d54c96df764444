//! Another name for an instance, also for one that runs.
//!
//! The process that watches a container knows the directories by descriptor: when the container ends it asks the kernel what they
//! are called by then. A lock on the bundle's directory keeps the two from crossing.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::live::Live;
use super::{Instance, Instances};
use crate::state::{RunDir, State};
use crate::{Error, names};

impl Instances {
    /// Gives an instance another name. One that is just being started or removed is busy.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let mut instance = self.get(name)?;
        let claimed = self.claim(new)?;
        let renamed = match instance.hold() {
            Ok(()) => rename(&instance.dir, &self.dir().join(new)),
            Err(Error::Running { .. }) => {
                return match self.rename_running(instance, new) {
                    // The claimed directory was replaced by the one of the container.
                    Ok(()) => Ok(()),
                    Err(error) => claimed.remove().and(Err(error)),
                };
            }
            Err(error) => Err(error),
        };
        claimed.remove().and(renamed)
    }

    fn rename_running(&self, instance: Instance, new: &str) -> Result<(), Error> {
        let name = instance.name.as_str();
        let busy = || Error::Busy {
            name: name.to_owned(),
        };
        let _place = lock(&instance.dir)?;
        let live = Live::find(self.run(), name)?.ok_or_else(busy)?;
        let state = State::read(self.run(), name)?.ok_or_else(busy)?;
        // What the start writes last is there, so that nothing is written under the old name any more.
        let record = self.get(name)?.record.clone();
        let complete = record.remove
            || record
                .started
                .is_some_and(|started| started.at == state.started);
        if !complete || live.pid() != state.pid {
            return Err(busy());
        }
        let target = self.dir().join(new);
        rename(&instance.dir, &target)?;
        rename(&self.run().join(name), &self.run().join(new))
            .or_else(|error| rename(&target, &instance.dir).and(Err(error)))
    }
}

impl Instance {
    /// Finds out how it is called now, and keeps it so while the returned value lives. `None`: its directory has gone.
    pub(super) fn keep_place(&mut self) -> Result<Option<OwnedFd>, Error> {
        loop {
            self.find_name();
            let place = match lock(&self.dir) {
                Ok(place) => place,
                Err(_) if !self.find_name() => return Ok(None),
                Err(_) => continue,
            };
            if !self.find_name() {
                return Ok(Some(place));
            }
        }
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
