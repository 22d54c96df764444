//! What killed processes left behind, taken away in passing: state without an owner, control groups, containers that were to go
//! with their command or were never finished.

use std::path::Path;

use super::store::{Containers, remove_bundle};
use crate::Error;
use crate::container::state::RunDir;

/// The most states that one sweep looks at, and the most dead ones that it clears away.
const MOST: usize = 16;
const MOST_DEAD: usize = 4;

impl Containers {
    /// Looks at a few states, those of running containers included, and clears away the dead ones. Failures are logged: they belong to
    /// nobody's command.
    pub fn sweep(&self) {
        let names = names(self.run());
        // Not the same ones every time, where there are many.
        let first = std::process::id() as usize % names.len().max(1);
        let mut dead = 0;
        for name in names.iter().cycle().skip(first).take(MOST.min(names.len())) {
            match RunDir::lock_existing(self.run(), name) {
                Ok(Some(held)) => {
                    self.clear_or_finish(name, held);
                    dead += 1;
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "a state cannot be looked at"),
            }
            if dead == MOST_DEAD {
                return;
            }
        }
    }

    /// Takes away a container that nobody holds and that is not to be kept, such as one whose maker was killed. True: it has gone.
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
            // What is held is only a place for the state of a container that runs.
            Ok(true) => {
                drop(held);
                if let Err(error) = self.finish_rename(name) {
                    tracing::debug!(%error, "a rename that was cut short cannot be finished");
                }
            }
            Err(error) => tracing::debug!(%error, "a state cannot be looked at"),
        }
    }

    fn clear(&self, name: &str, held: RunDir) {
        let dir = self.dir().join(name);
        let kept = self
            .find(name)
            .is_ok_and(|container| !container.record().remove);
        let cleared = held.bury().and_then(|()| match kept {
            true => Ok(()),
            false => remove_bundle(&dir),
        });
        if let Err(error) = cleared.and_then(|()| held.remove()) {
            tracing::debug!(%error, "what a killed process left cannot be removed");
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
