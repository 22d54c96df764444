//! The progress of the container's first process, in case it is killed before it can report anything.

use rustix::io::Errno;

use super::step::Step;
use crate::sys::memory::SharedNumber;

/// Written by the child, read by the parent.
#[derive(Debug)]
pub(crate) struct Progress(SharedNumber);

/// The command is being executed, and later failures are its own.
const DONE: u32 = u32::MAX;

impl Progress {
    /// Must be called before the child is cloned.
    pub(crate) fn new() -> Result<Self, Errno> {
        SharedNumber::new().map(Self)
    }

    /// Records that this step begins. `index` selects one of several.
    pub(crate) fn at(&self, step: Step, index: usize) {
        self.0.set(step as u32 | (index as u32) << 8);
    }

    /// Records that all steps are done.
    pub(crate) fn done(&self) {
        self.0.set(DONE);
    }

    /// The last step that began and its index; `None` when all are done.
    pub(crate) fn step(&self) -> Option<(Step, usize)> {
        let number = self.0.get();
        let step = Step::from_number(number as u8).unwrap_or(Step::Handshake);
        (number != DONE).then_some((step, (number >> 8) as usize))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_read_as_written() {
        let progress = Progress::new().unwrap();
        assert_eq!(progress.step(), Some((Step::DieWithParent, 0)));
        progress.at(Step::Mount, 300);
        assert_eq!(progress.step(), Some((Step::Mount, 300)));
        progress.done();
        assert_eq!(progress.step(), None);
    }
}
