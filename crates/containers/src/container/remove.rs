//! Containers removed.

use std::path::Path;

use rustix::fs::{AtFlags, Mode, unlinkat};
use rustix::io::Errno;

use super::Containers;
use super::live::Live;
use super::names;
use super::state::State;
use crate::Error;
use crate::files::removal;

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

/// Removes a bundle. Most contain only files that box created: those are removed by name, without reading directories.
pub(super) fn remove_bundle(dir: &Path) -> Result<(), Error> {
    const FILES: [&str; 6] = [
        "config.json",
        "instance.json",
        "resolv.conf",
        "hosts",
        "hostname",
        "work/work/incompat/volatile/dirty",
    ];
    const DIRECTORIES: [&str; 6] = [
        "work/work/incompat/volatile",
        "work/work/incompat",
        "work/work",
        "work",
        "rootfs",
        "upper",
    ];
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return removal::remove_tree(dir);
    };
    let entries = FILES.map(|name| (name, AtFlags::empty())).into_iter();
    for (name, kind) in entries.chain(DIRECTORIES.map(|name| (name, AtFlags::REMOVEDIR))) {
        // If anything is left, remove_tree() removes it below.
        let _ = unlinkat(&open, name, kind);
    }
    match rustix::fs::rmdir(dir) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => removal::remove_tree(dir),
    }
}
