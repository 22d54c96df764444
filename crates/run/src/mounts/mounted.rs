//! The mounts that were made so far.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::place::{Resolver, mount_of};
use super::step::MountStep;

/// What was mounted so far.
pub(crate) struct Mounted {
    /// For each step that made a file system.
    pub(super) steps: Vec<Option<OwnedFd>>,
    /// The container's own null device, open for reading and writing.
    pub null: Option<OwnedFd>,
    /// Which step made the file system on /dev.
    dev: Option<usize>,
    /// The file system that the controllers of v1 are mounted in.
    pub(super) groups: Option<OwnedFd>,
    /// Files written by [`write_texts`] and not attached yet, with the steps they are of.
    pub texts: Vec<(usize, OwnedFd)>,
    /// The mounts of volumes, by number, and the steps that made them, if there is more than one volume.
    pub(super) volumes: Vec<(u64, usize)>,
    pub(super) several_volumes: bool,
}

/// What is said of a place where another volume is mounted already. No call made here says so by itself.
pub(crate) const TAKEN: Errno = Errno::ALREADY;

impl Mounted {
    /// Room for these steps. `dev` is the one that makes the file system on /dev, if there is to be one.
    pub fn with_capacity(steps: &[MountStep], dev: Option<usize>) -> Self {
        Self {
            steps: Vec::with_capacity(steps.len()),
            null: None,
            dev,
            groups: None,
            texts: vec![],
            volumes: vec![],
            several_volumes: steps.iter().filter(|step| step.is_volume()).count() > 1,
        }
    }

    /// Whether a mount on `place` would hide another volume, by way of a symbolic link: one place by two names. That of one
    /// name twice is said outright, and the later one is meant.
    pub fn hides(
        &self,
        place: &OwnedFd,
        step: &MountStep,
        steps: &[MountStep],
    ) -> Result<bool, Errno> {
        if self.volumes.is_empty() {
            return Ok(false);
        }
        let (number, is_root) = mount_of(place.as_fd())?;
        let other = |(known, index): &(u64, usize)| {
            *known == number && steps[*index].destination != step.destination
        };
        Ok(is_root && self.volumes.iter().any(other))
    }

    /// Where the places of mounts are found.
    pub fn inside<'a>(&'a self, root: BorrowedFd<'a>) -> Resolver<'a> {
        let dev = self.dev.and_then(|step| self.get(step));
        Resolver {
            root,
            made: [dev, self.groups.as_ref().map(AsFd::as_fd)],
        }
    }

    /// The file system made by a step.
    pub fn get(&self, step: usize) -> Option<BorrowedFd<'_>> {
        self.steps.get(step)?.as_ref().map(AsFd::as_fd)
    }
}
