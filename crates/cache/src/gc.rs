//! Collection: deleting what no reference and no instance needs.
//!
//! The collector holds the cache's lock exclusively while it marks and while it takes names away, so that nothing can be
//! put in or relied upon meanwhile, and gives it back before the slow part, the freeing of the space. It writes no file
//! unless images are dropped for the budget, so that it works on a full disk; killed anywhere, it has deleted only what
//! was garbage, and the next one goes on.

mod collector;
pub(crate) mod eviction;
pub(crate) mod expiry;

use std::collections::BTreeSet;

use self::collector::Collector;
use crate::cache::lock::Lock;
use crate::gc::eviction::Evicted;
use crate::gc::expiry::Expiry;
use crate::{Cache, DiffId, Digest, Hold, Result};

/// An error of what stands beside the cache.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Frees the space of something that was taken away already, and returns its bytes on disk.
pub type Reclaim = Box<dyn FnOnce() -> std::result::Result<u64, BoxError>>;

/// How to collect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// The bytes that blobs and layer trees may take together. While they take more, the least recently used images are
    /// dropped, but none that is needed.
    pub max_size: Option<u64>,
    /// For how long broken-off downloads stay.
    pub downloads: Expiry,
}

/// What instances and others need.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The layers whose trees are in use, and whose images are not dropped for the budget.
    pub layers: BTreeSet<DiffId>,
    /// Manifests of images that are kept with all that they lead to, and not dropped for the budget.
    pub manifests: BTreeSet<Digest>,
}

/// The layers' trees beside the cache, and who needs them. All methods are called by one thread.
pub trait LayerTrees {
    /// What is needed now. Called after the collector has locked everybody out who could start to need something.
    fn needs(&self) -> std::result::Result<Needs, BoxError>;
    /// The trees there are.
    fn list(&self) -> std::result::Result<Vec<DiffId>, BoxError>;
    /// The bytes on disk of a tree.
    fn bytes(&self, layer: &DiffId) -> std::result::Result<u64, BoxError>;
    /// Takes a tree away at once, and returns what frees its space; none where it is gone already.
    fn detach(&self, layer: &DiffId) -> std::result::Result<Option<Reclaim>, BoxError>;
    /// The bytes on disk of what killed processes left half made or half deleted.
    fn leftovers(&self) -> std::result::Result<u64, BoxError>;
    /// Deletes these, and returns the bytes.
    fn sweep(&self) -> std::result::Result<u64, BoxError>;
}

/// What a collection deleted, or would.
#[derive(Debug, Default)]
pub struct Collection {
    /// Images dropped: those that no tag means any more, then those beyond the budget, least recently used first.
    pub evicted: Vec<Evicted>,
    /// What was deleted.
    pub garbage: Vec<Garbage>,
    /// What could not be deleted, and why. The rest was.
    pub failures: Vec<BoxError>,
}

/// One thing deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// What it was.
    pub kind: GarbageKind,
    /// A digest, or the name of a file.
    pub name: String,
    /// Bytes on disk that it took.
    pub bytes: u64,
}

/// A kind of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GarbageKind {
    /// A blob that nothing leads to.
    Blob,
    /// The tree of a layer of no image and no instance.
    Tree,
    /// A download that was broken off long ago.
    Download,
    /// A file or tree that a killed process was making.
    Leftover,
    /// A blob found damaged.
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
    /// All bytes on disk that were freed.
    pub fn freed(&self) -> u64 {
        self.garbage.iter().map(|garbage| garbage.bytes).sum()
    }
}

impl Cache {
    /// Deletes everything that neither the index nor `trees` needs. Waits until nobody holds the cache.
    ///
    /// # Errors
    /// Only before anything was deleted; what fails afterwards is in [`Collection::failures`].
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

    /// Waits until nobody holds the cache, and keeps everybody from holding it.
    pub(crate) fn hold_alone(&self) -> Result<Hold> {
        let layout = self.layout();
        let lock = Lock::exclusive(layout, &layout.collector_lock())?;
        Ok(Hold::from(lock))
    }
}
