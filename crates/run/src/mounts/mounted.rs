//! The mounts made so far.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::place::{Resolver, mount_of};
use super::step::MountStep;

/// The mounts made so far.
pub(crate) struct Mounted {
    /// For each step, the file system that it made, if any.
    pub(super) steps: Vec<Option<OwnedFd>>,
    /// The container's own null device, open for reading and writing.
    pub null: Option<OwnedFd>,
    /// The step that made the file system on /dev.
    dev: Option<usize>,
    /// The file system that holds the mounts of the v1 controllers.
    pub(super) groups: Option<OwnedFd>,
    /// Files written by [`write_texts`](super::write_texts) and not attached yet, with their steps.
    pub texts: Vec<(usize, OwnedFd)>,
    /// The mount ids of volumes and their steps, if there is more than one volume.
    pub(super) volumes: Vec<(u64, usize)>,
    pub(super) several_volumes: bool,
}

/// Stands for a mount point that another volume is mounted on. No system call made here fails with this number.
pub(crate) const TAKEN: Errno = Errno::ALREADY;

impl Mounted {
    /// Reserves room for these steps. `dev` is the step that makes the file system on /dev, if any.
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

    /// Whether a mount on `place` would hide another volume because a symbolic link makes two paths the same. If the spec has one
    /// path twice, the later mount is intended.
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

    /// The resolver of mount points.
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
