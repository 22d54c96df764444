//! Collection: deleting what no reference and no instance needs.
//!
//! The collector holds the cache's lock exclusively while it marks and while it takes names away, so that nothing can be
//! put in or relied upon meanwhile, and gives it back before the slow part, the freeing of the space. It writes no file
//! unless images are dropped for the budget, so that it works on a full disk; killed anywhere, it has deleted only what
//! was garbage, and the next one goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::eviction::{self, Evicted};
use crate::expiry::Expiry;
use crate::index::Index;
use crate::lock::Lock;
use crate::partial::remove;
use crate::survey::{Marked, Survey, files};
use crate::{Cache, DiffId, Digest, Error, Hold, Result, lookup};

/// An error of what stands beside the cache.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Frees the space of something that was taken away already; returns nothing as what it frees was counted before.
pub type Doomed = Box<dyn FnOnce() -> std::result::Result<(), BoxError>>;

/// How many deleted files are held open at a time, to be freed after the lock is given back.
const MAX_OPEN: usize = 256;

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
pub trait Trees {
    /// What is needed now. Called after the collector has locked everybody out who could start to need something.
    fn needs(&self) -> std::result::Result<Needs, BoxError>;
    /// The trees there are.
    fn list(&self) -> std::result::Result<Vec<DiffId>, BoxError>;
    /// The bytes on disk of a tree.
    fn bytes(&self, layer: &DiffId) -> std::result::Result<u64, BoxError>;
    /// Takes a tree away at once, and returns what frees its space; none where it is gone already.
    fn detach(&self, layer: &DiffId) -> std::result::Result<Option<Doomed>, BoxError>;
    /// The bytes on disk of what killed processes left half made or half deleted.
    fn leftovers(&self) -> std::result::Result<u64, BoxError>;
    /// Deletes these.
    fn sweep(&self) -> std::result::Result<(), BoxError>;
}

/// What a collection deleted, or would.
#[derive(Debug, Default)]
pub struct Collection {
    /// Images dropped to stay within the budget, least recently used first.
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
    pub kind: Kind,
    /// A digest, or the name of a file.
    pub name: String,
    /// Bytes on disk that it took.
    pub bytes: u64,
}

/// A kind of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
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

impl Kind {
    /// Its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Blob => "blob",
            Kind::Tree => "layer",
            Kind::Download => "download",
            Kind::Leftover => "leftover",
            Kind::Quarantined => "quarantined",
        }
    }
}

impl Collection {
    /// All bytes on disk that were freed.
    pub fn freed(&self) -> u64 {
        self.garbage.iter().map(|garbage| garbage.bytes).sum()
    }

    fn add(&mut self, kind: Kind, path: &Path, bytes: u64) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.garbage.push(Garbage { kind, name, bytes });
    }
}

impl Cache {
    /// Deletes everything that neither the index nor `trees` needs. Waits until nobody holds the cache.
    ///
    /// # Errors
    /// Only before anything was deleted; what fails afterwards is in [`Collection::failures`].
    pub fn collect(&self, policy: &Policy, trees: &dyn Trees) -> Result<Collection, BoxError> {
        if policy.dry_run {
            let _hold = self.hold()?;
            return Collector::prepare(self, policy, trees).map(Collector::report);
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
        Ok(Hold::from(Lock::exclusive(
            &self.layout().collector_lock(),
        )?))
    }
}

/// A collection at work.
struct Collector<'c> {
    cache: &'c Cache,
    policy: &'c Policy,
    trees: &'c dyn Trees,
    survey: Survey,
    unneeded: Vec<(DiffId, u64)>,
    leftovers: u64,
    collection: Collection,
    /// Deleted, but their space is not free before they are closed.
    open: Vec<File>,
    doomed: Vec<Doomed>,
}

impl<'c> Collector<'c> {
    /// Finds out what is garbage.
    fn prepare(
        cache: &'c Cache,
        policy: &'c Policy,
        trees: &'c dyn Trees,
    ) -> Result<Collector<'c>, BoxError> {
        let (mut index, _) = Index::read(cache.layout())?;
        let needs = trees.needs()?;
        let mut collection = Collection::default();
        if let Some(budget) = policy.max_size {
            let chosen = eviction::choose(cache, &index, &needs, trees, budget)?;
            index
                .manifests
                .retain(|entry| !chosen.iter().any(|evicted| evicted.is(entry)));
            collection.evicted = chosen;
        }
        let marked = mark(cache, &index, &needs)?;
        let mut unneeded = Vec::new();
        for layer in trees.list()? {
            if !marked.layers.contains(&layer) {
                unneeded.push((layer, trees.bytes(&layer)?));
            }
        }
        let survey = cache.survey_marked(&marked)?;
        let leftovers = trees.leftovers()?;
        Ok(Collector {
            cache,
            policy,
            trees,
            survey,
            unneeded,
            leftovers,
            collection,
            open: Vec::new(),
            doomed: Vec::new(),
        })
    }

    /// What would be deleted.
    fn report(mut self) -> Collection {
        for blob in self.survey.blobs.iter().filter(|blob| !blob.referenced) {
            self.collection.garbage.push(Garbage {
                kind: Kind::Blob,
                name: blob.digest.to_string(),
                bytes: blob.bytes,
            });
        }
        let staged: Vec<_> = self
            .survey
            .partial
            .iter()
            .filter(|file| file.is_staged())
            .cloned()
            .collect();
        for file in &staged {
            self.collection.add(Kind::Leftover, &file.path, file.bytes);
        }
        for file in self.survey.quarantine.clone() {
            self.collection
                .add(Kind::Quarantined, &file.path, file.bytes);
        }
        match self.cache.expired(&self.policy.downloads) {
            Ok(downloads) => {
                downloads
                    .iter()
                    .for_each(|file| self.collection.add(Kind::Download, &file.path, file.bytes));
            }
            Err(error) => self.collection.failures.push(error.into()),
        }
        for (layer, bytes) in &self.unneeded {
            let name = layer.to_string();
            self.collection.garbage.push(Garbage {
                kind: Kind::Tree,
                name,
                bytes: *bytes,
            });
        }
        if self.leftovers > 0 {
            let name = "unfinished layers".to_owned();
            self.collection.garbage.push(Garbage {
                kind: Kind::Leftover,
                name,
                bytes: self.leftovers,
            });
        }
        self.collection
    }

    /// Takes the images that exceed the budget off the list.
    fn drop_images(&mut self, alone: &Hold) -> Result<()> {
        let evicted = &self.collection.evicted;
        if evicted.is_empty() {
            return Ok(());
        }
        self.cache.shrink_index(alone, &mut |index| {
            index
                .manifests
                .retain(|entry| !evicted.iter().any(|evicted| evicted.is(entry)));
            Ok(evicted
                .iter()
                .map(|evicted| evicted.reference.key())
                .collect())
        })
    }

    fn delete_blobs(&mut self) {
        for blob in std::mem::take(&mut self.survey.blobs)
            .iter()
            .filter(|blob| !blob.referenced)
        {
            if self.delete(&blob.path) {
                let name = blob.digest.to_string();
                self.collection.garbage.push(Garbage {
                    kind: Kind::Blob,
                    name,
                    bytes: blob.bytes,
                });
            }
        }
    }

    /// Deletes what is neither blob nor tree.
    fn delete_files(&mut self) {
        for file in std::mem::take(&mut self.survey.partial)
            .iter()
            .filter(|file| file.is_staged())
        {
            if self.delete(&file.path) {
                self.collection.add(Kind::Leftover, &file.path, file.bytes);
            }
        }
        for file in std::mem::take(&mut self.survey.quarantine) {
            if self.delete(&file.path) {
                self.collection
                    .add(Kind::Quarantined, &file.path, file.bytes);
            }
        }
        match self.cache.expire_downloads(&self.policy.downloads) {
            Ok(downloads) => {
                downloads
                    .iter()
                    .for_each(|file| self.collection.add(Kind::Download, &file.path, file.bytes));
            }
            Err(error) => self.collection.failures.push(error.into()),
        }
        if let Err(error) = self.delete_derived() {
            self.collection.failures.push(error.into());
        }
    }

    /// Deletes answers derived from former indexes, and stamps of use of manifests that are gone.
    fn delete_derived(&self) -> Result<()> {
        let layout = self.cache.layout();
        let stamp = crate::index::Stamp::current(layout)?;
        lookup::sweep(layout, stamp.as_ref()).map_err(Error::io("sweep", layout.lookup()))?;
        for file in files(&layout.used())? {
            let name = file
                .path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let known = Digest::from_sha256_hex(name).or_else(|_| Digest::from_sha512_hex(name));
            if known.is_ok_and(|manifest| !layout.blob(&manifest).exists()) {
                remove(&file.path)?;
            }
        }
        Ok(())
    }

    fn detach_trees(&mut self) {
        for (layer, bytes) in std::mem::take(&mut self.unneeded) {
            match self.trees.detach(&layer) {
                Ok(Some(doomed)) => {
                    self.doomed.push(doomed);
                    let name = layer.to_string();
                    self.collection.garbage.push(Garbage {
                        kind: Kind::Tree,
                        name,
                        bytes,
                    });
                }
                Ok(None) => {}
                Err(error) => self.collection.failures.push(error),
            }
        }
    }

    /// Does the slow part, after the lock is given back.
    fn free(mut self) -> Collection {
        drop(self.open);
        for doomed in self.doomed {
            if let Err(error) = doomed() {
                self.collection.failures.push(error);
            }
        }
        if self.leftovers > 0 {
            match self.trees.sweep() {
                Ok(()) => {
                    let name = "unfinished layers".to_owned();
                    self.collection.garbage.push(Garbage {
                        kind: Kind::Leftover,
                        name,
                        bytes: self.leftovers,
                    });
                }
                Err(error) => self.collection.failures.push(error),
            }
        }
        self.collection
    }

    /// Takes a file's name away. Its space is freed when it is closed: for large files that takes long.
    fn delete(&mut self, path: &Path) -> bool {
        // It may be unreadable: then its space is freed right here.
        if self.open.len() < MAX_OPEN
            && let Ok(file) = File::open(path)
        {
            self.open.push(file);
        }
        match fs::remove_file(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                self.collection
                    .failures
                    .push(Error::io("delete", path)(error).into());
                false
            }
        }
    }
}

/// All that the index and others need.
fn mark(cache: &Cache, index: &Index, needs: &Needs) -> Result<Marked> {
    let held = eviction::entries_of(cache, &needs.manifests)?;
    let mut marked = cache.mark(index.manifests.iter().chain(&held))?;
    marked.layers.extend(&needs.layers);
    Ok(marked)
}
