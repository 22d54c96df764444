//! Containers removed.

use super::Containers;
use super::bundle::remove_bundle;
use super::live::Live;
use super::names;
use super::state::State;
use crate::Error;

impl Containers {
    /// Removes a container. A running one is killed first with `force`, and an error otherwise. Needs no space on the disk, and never
    /// waits without a limit.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        names::check(name)?;
        let dir = self.dir().join(name);
        if !dir.exists() {
            return Err(Error::NoSuchContainer {
                name: name.to_owned(),
            });
        }
        let mut held = self.lock_state(name)?;
        if held.is_none() && force {
            self.kill(name)?;
            held = self.lock_state(name)?;
        }
        let Some(held) = held else {
            return Err(match State::read(self.run(), name)? {
                Some(state) => Error::Running {
                    name: name.to_owned(),
                    pid: state.pid,
                },
                None => Error::Busy {
                    name: name.to_owned(),
                },
            });
        };
        // A container with --rm may have removed itself meanwhile.
        held.clean_up()?;
        remove_bundle(&dir)?;
        held.remove()
    }

    fn kill(&self, name: &str) -> Result<(), Error> {
        match Live::find(self.run(), name)? {
            Some(live) => live.kill(),
            // It has ended, or is being created or removed.
            None => Ok(()),
        }
    }
}
