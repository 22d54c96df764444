//! Removal of what killed processes left behind: state without a supervisor, control groups, containers with `--rm` or never
//! completed.

use std::path::Path;

use super::Containers;
use super::bundle::remove_bundle;
use crate::Error;
use crate::container::state::RunDir;

/// The most states that one sweep examines, and the most stale ones that it removes.
const MOST: usize = 16;
const MOST_DEAD: usize = 4;

impl Containers {
    /// Examines a few states, those of running containers included, and removes the stale ones. Failures are only logged, as they have
    /// nothing to do with the command at hand.
    pub fn sweep(&self) {
        let names = names(self.run());
        // If there are many, not always the same ones.
        let first = std::process::id() as usize % names.len().max(1);
        let mut dead = 0;
        for name in names.iter().cycle().skip(first).take(MOST.min(names.len())) {
            match RunDir::lock_existing(self.run(), name) {
                Ok(Some(held)) => {
                    self.clear_or_finish(name, held);
                    dead += 1;
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "cannot examine the state of a container"),
            }
            if dead == MOST_DEAD {
                return;
            }
        }
    }

    /// Removes a container that is not locked and not to be kept, for example because its creator was killed. Returns whether it is gone.
    pub(super) fn collect(&self, name: &str) -> Result<bool, Error> {
        let Some(held) = self.lock_state(name)? else {
            return Ok(false);
        };
        self.clear(name, held);
        Ok(!self.dir().join(name).exists())
    }

    fn clear_or_finish(&self, name: &str, held: RunDir) {
        match self.is_half_renamed(name) {
            Ok(false) => self.clear(name, held),
            // The locked directory only reserves the name for the state of a running container.
            Ok(true) => {
                drop(held);
                if let Err(error) = self.finish_rename(name) {
                    tracing::debug!(%error, "cannot complete an interrupted rename");
                }
            }
            Err(error) => tracing::debug!(%error, "cannot examine the state of a container"),
        }
    }

    fn clear(&self, name: &str, held: RunDir) {
        let dir = self.dir().join(name);
        let kept = self
            .find(name)
            .is_ok_and(|container| !container.record().remove);
        let cleared = held.clean_up().and_then(|()| match kept {
            true => Ok(()),
            false => remove_bundle(&dir),
        });
        if let Err(error) = cleared.and_then(|()| held.remove()) {
            tracing::debug!(%error, "cannot remove what a killed process left behind");
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return vec![];
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
