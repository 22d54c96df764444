//! How much work symbolic links may make.
//!
//! The kernel follows up to 40 links for one path, and each can name thousands of directories: a small archive whose
//! entries all go that way keeps a machine busy for hours. What that may cost is therefore counted, and bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Problem;

/// LinkBudget that the kernel follows for one path, path_resolution(7).
const FOLLOWED: u64 = 40;

/// Components that all resolutions through links may take: seconds of the kernel's time, and a hundred thousand
/// directories behind links as they are in real archives.
const BUDGET: u64 = 1 << 26;

/// What was seen of links, for all layers that go to one tree.
#[derive(Debug, Default)]
pub(crate) struct LinkBudget {
    /// Components of the longest target.
    longest: AtomicU64,
    /// Components that were looked up at most.
    spent: AtomicU64,
}

impl LinkBudget {
    /// A link was made.
    pub fn note(&self, target: &[u8]) {
        let components = target.split(|&b| b == b'/').count() as u64;
        self.longest.fetch_max(components, Ordering::Relaxed);
    }

    /// A path was resolved that leads through a link.
    pub fn followed(&self) {
        let most = FOLLOWED * self.longest.load(Ordering::Relaxed);
        self.spent.fetch_add(most, Ordering::Relaxed);
    }

    /// Refuses to go on where it was too much.
    pub fn check(&self) -> Result<(), Problem> {
        match self.spent.load(Ordering::Relaxed) > BUDGET {
            true => Err(Problem::Detours),
            false => Ok(()),
        }
    }
}
