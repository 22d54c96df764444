//! Processes that wait for the end of a container.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use box_run::Ended;

use super::Container;
use crate::{Error, files};

/// The directory in the state directory where each waiting process has a file. The supervisor writes there how the container ended,
/// which is all that is left of a container with `--rm`.
const WAITERS: &str = "waiters";

/// Waits for the end of a container.
#[derive(Debug)]
pub struct Waiter {
    note: Option<File>,
}

impl Container {
    /// A [`Waiter`] for the end of the container, which may have ended already. It works for `--rm`, too.
    pub fn waiter(&self) -> Result<Waiter, Error> {
        let directory = self.state_directory().join(WAITERS);
        let note = if self.state_directory().exists() {
            files::create_private_dir(&directory)?;
            let path = directory.join(std::process::id().to_string());
            // The directory is removed with the container, maybe at this moment.
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .ok()
        } else {
            None
        };
        Ok(Waiter { note })
    }
}

impl Waiter {
    /// How the container ended, once it has; `None` if that was not recorded.
    pub fn ended(self) -> Result<Option<Ended>, Error> {
        let Some(mut note) = self.note else {
            return Ok(None);
        };
        let mut text = vec![];
        note.rewind()
            .and_then(|()| note.read_to_end(&mut text))
            .map_err(|error| Error::system("read how the container ended", error))?;
        // An empty file means that the end was not recorded.
        Ok(serde_json::from_slice(&text).ok())
    }
}

/// Reports the end to all waiting processes. Failures do not keep the container from ending.
pub(super) fn notify(directory: &Path, ended: &Ended) {
    let Ok(entries) = std::fs::read_dir(directory.join(WAITERS)) else {
        return;
    };
    let Ok(text) = serde_json::to_vec(ended) else {
        return;
    };
    for entry in entries.flatten() {
        if let Ok(mut note) = File::options().write(true).open(entry.path()) {
            // On a full disk the waiter finds an empty file, as if the end had not been recorded.
            note.write_all(&text).ok();
        }
    }
}
