//! How far the container's first process has come, for when it is killed before it can say a word.

use rustix::io::Errno;

use super::step::Step;
use crate::sys::memory::SharedNumber;

/// Written by the child, read by the parent.
#[derive(Debug)]
pub(crate) struct Progress(SharedNumber);

/// The command is being executed: what happens from here on is its own.
const DONE: u32 = u32::MAX;

impl Progress {
    /// To be made before the child is.
    pub(crate) fn new() -> Result<Self, Errno> {
        SharedNumber::new().map(Self)
    }

    /// This step begins; with `index`, that one of several.
    pub(crate) fn at(&self, step: Step, index: usize) {
        self.0.set(step as u32 | (index as u32) << 8);
    }

    /// All steps are done.
    pub(crate) fn done(&self) {
        self.0.set(DONE);
    }

    /// The step that was begun last and its index; `None` when all are done.
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
