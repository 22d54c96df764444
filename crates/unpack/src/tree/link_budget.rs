//! Limits the work of resolving symbolic links.
//!
//! The kernel follows up to 40 links for one path, and each can name thousands of directories: a small archive with many such paths
//! would keep a machine busy for hours. So the cost is counted and limited.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Problem;

/// The most links that the kernel follows for one path, see path_resolution(7).
const FOLLOWED: u64 = 40;

/// The most components of all resolutions through links: seconds of kernel time, and enough for a hundred thousand directories
/// behind links like those in real archives.
const BUDGET: u64 = 1 << 26;

/// The links of all layers that are unpacked to one tree.
#[derive(Debug, Default)]
pub(crate) struct LinkBudget {
    /// The number of components of the longest target.
    longest: AtomicU64,
    /// An upper bound for the components looked up so far.
    spent: AtomicU64,
}

impl LinkBudget {
    /// Records that a link was created.
    pub fn note(&self, target: &[u8]) {
        let components = target.split(|&b| b == b'/').count() as u64;
        self.longest.fetch_max(components, Ordering::Relaxed);
    }

    /// Records that a path with a link was resolved.
    pub fn followed(&self) {
        let most = FOLLOWED * self.longest.load(Ordering::Relaxed);
        self.spent.fetch_add(most, Ordering::Relaxed);
    }

    /// Fails if the limit is exceeded.
    pub fn check(&self) -> Result<(), Problem> {
        match self.spent.load(Ordering::Relaxed) > BUDGET {
            true => Err(Problem::Detours),
            false => Ok(()),
        }
    }
}
