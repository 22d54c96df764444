//! Garbage collection: deleting what no reference and no container needs.
//!
//! The collector holds the cache's lock exclusively while it marks and removes names, so that nothing can be added or relied upon
//! meanwhile. It releases the lock before the slow part, freeing the space. It writes no file unless images are dropped for the
//! budget, so it works on a full disk. Killed at any point, it has deleted nothing but garbage, and the next run finishes.

mod collector;
pub(crate) mod eviction;
pub(crate) mod expiry;

use std::collections::BTreeSet;

use self::collector::Collector;
use crate::cache::lock::Lock;
use crate::gc::eviction::Evicted;
use crate::gc::expiry::Expiry;
use crate::{Cache, DiffId, Digest, Hold, Result};

/// An error of the layer trees beside the cache.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Frees the space of a tree that has no name any more, and returns its size on disk in bytes.
pub type Reclaim = Box<dyn FnOnce() -> std::result::Result<u64, BoxError>>;

/// Options of a collection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Only report what would be deleted.
    pub dry_run: bool,
    /// The budget of blobs and layer trees together, in bytes. While they take more, the least recently used images are dropped,
    /// but none that is needed.
    pub max_size: Option<u64>,
    /// How long interrupted downloads are kept.
    pub downloads: Expiry,
}

/// The needs of containers and lock files.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Layers whose trees are in use. Their images are not dropped for the budget.
    pub layers: BTreeSet<DiffId>,
    /// Manifests of images that are kept with all their blobs, and not dropped for the budget.
    pub manifests: BTreeSet<Digest>,
}

/// The layer trees beside the cache, and what needs them. All methods are called from one thread.
pub trait LayerTrees {
    /// The current needs. Called after the collector has locked out everything that could begin to need more.
    fn needs(&self) -> std::result::Result<Needs, BoxError>;
    /// All trees.
    fn list(&self) -> std::result::Result<Vec<DiffId>, BoxError>;
    /// The size of a tree on disk, in bytes.
    fn bytes(&self, layer: &DiffId) -> std::result::Result<u64, BoxError>;
    /// Takes a tree out of the store at once, and returns how to free its space. None if it is gone already.
    fn detach(&self, layer: &DiffId) -> std::result::Result<Option<Reclaim>, BoxError>;
    /// The size on disk of trees that killed processes left half made or half deleted, in bytes.
    fn leftovers(&self) -> std::result::Result<u64, BoxError>;
    /// Deletes these, and returns their size in bytes.
    fn sweep(&self) -> std::result::Result<u64, BoxError>;
}

/// The result of a collection: what it deleted, or would delete.
#[derive(Debug, Default)]
pub struct Collection {
    /// The dropped images: first those that no tag means any more, then those beyond the budget, least recently used first.
    pub evicted: Vec<Evicted>,
    /// Everything that was deleted.
    pub garbage: Vec<Garbage>,
    /// Why some things could not be deleted. The rest was.
    pub failures: Vec<BoxError>,
}

/// One deleted thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Its kind.
    pub kind: GarbageKind,
    /// A digest, or the name of a file.
    pub name: String,
    /// Its size on disk in bytes.
    pub bytes: u64,
}

/// A kind of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GarbageKind {
    /// A blob that nothing needs.
    Blob,
    /// The tree of a layer that no image and no container needs.
    Tree,
    /// A download that was interrupted long ago.
    Download,
    /// A file or tree that a killed process left unfinished.
    Leftover,
    /// A damaged blob.
    Quarantined,
}

impl GarbageKind {
    /// Its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            GarbageKind::Blob => "blob",
            GarbageKind::Tree => "layer",
            GarbageKind::Download => "download",
            GarbageKind::Leftover => "leftover",
            GarbageKind::Quarantined => "quarantined",
        }
    }
}

impl Collection {
    /// The freed bytes.
    pub fn freed(&self) -> u64 {
        self.garbage.iter().map(|garbage| garbage.bytes).sum()
    }
}

impl Cache {
    /// Deletes everything that neither the index nor `trees` needs. Waits until no process has a [`Hold`].
    ///
    /// # Errors
    /// Only before anything was deleted. Later failures are in [`Collection::failures`].
    pub fn collect(&self, policy: &Policy, trees: &dyn LayerTrees) -> Result<Collection, BoxError> {
        if policy.dry_run {
            let _hold = self.hold()?;
            return Collector::prepare(self, policy, trees)?.report();
        }
        let hold = self.hold_alone()?;
        let mut collector = Collector::prepare(self, policy, trees)?;
        collector.drop_images(&hold)?;
        collector.delete_blobs();
        collector.delete_files();
        collector.detach_trees();
        drop(hold);
        Ok(collector.free())
    }

    /// Waits until no process has a [`Hold`], and keeps all processes from getting one.
    pub(crate) fn hold_alone(&self) -> Result<Hold> {
        let layout = self.layout();
        let lock = Lock::exclusive(layout, &layout.collector_lock())?;
        Ok(Hold::from(lock))
    }
}
