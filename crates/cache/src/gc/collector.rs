//! One collection, step by step.

use std::fs::File;
use std::path::Path;

use rustix::fs::OFlags;

use super::{BoxError, Collection, Garbage, GarbageKind, LayerTrees, Needs, Policy, Reclaim};
use crate::blob::partial::remove;
use crate::cache::beneath;
use crate::cache::survey::{Marked, StoredBlob, StoredFile, Survey, files};
use crate::gc::eviction::{self, Evicted};
use crate::index::lookup;
use crate::index::{Index, Stamp};
use crate::{Cache, DiffId, Digest, Error, Hold, Result};

/// How many deleted files are kept open at a time, to be freed after the lock is released.
const MAX_OPEN: usize = 256;

/// The garbage, and what was done with it so far.
pub(super) struct Collector<'c> {
    cache: &'c Cache,
    policy: &'c Policy,
    trees: &'c dyn LayerTrees,
    blobs: Vec<StoredBlob>,
    staged: Vec<StoredFile>,
    quarantine: Vec<StoredFile>,
    unneeded: Vec<DiffId>,
    collection: Collection,
    /// Deleted files. Their space is freed when they are closed.
    open: Vec<File>,
    reclaims: Vec<(DiffId, Reclaim)>,
}

impl<'c> Collector<'c> {
    /// Finds the garbage.
    pub(super) fn prepare(
        cache: &'c Cache,
        policy: &'c Policy,
        trees: &'c dyn LayerTrees,
    ) -> Result<Collector<'c>, BoxError> {
        let (mut index, _) = Index::read(cache.layout())?;
        let needs = trees.needs()?;
        let mut collection = Collection::default();
        let mut drop = |index: &mut Index, chosen: Vec<Evicted>| {
            index
                .manifests
                .retain(|entry| !chosen.iter().any(|evicted| evicted.is(entry)));
            collection.evicted.extend(chosen);
        };
        let replaced = eviction::replaced(cache, &index, &needs)?;
        drop(&mut index, replaced);
        if let Some(budget) = policy.max_size {
            let chosen = eviction::choose(cache, &index, &needs, trees, budget)?;
            drop(&mut index, chosen);
        }
        let marked = mark(cache, &index, &needs)?;
        let mut unneeded = trees.list()?;
        unneeded.retain(|layer| !marked.layers.contains(layer));
        let Survey {
            mut blobs,
            partial: mut staged,
            quarantine,
            ..
        } = cache.survey_marked(&marked)?;
        blobs.retain(|blob| !blob.referenced);
        staged.retain(StoredFile::is_staged);
        Ok(Collector {
            cache,
            policy,
            trees,
            blobs,
            staged,
            quarantine,
            unneeded,
            collection,
            open: Vec::new(),
            reclaims: Vec::new(),
        })
    }

    /// Reports what would be deleted.
    pub(super) fn report(mut self) -> Result<Collection, BoxError> {
        let collection = &mut self.collection;
        for blob in &self.blobs {
            collection.add(GarbageKind::Blob, blob.digest.to_string(), blob.bytes);
        }
        for file in &self.staged {
            collection.add(GarbageKind::Leftover, name(&file.path), file.bytes);
        }
        for file in &self.quarantine {
            collection.add(GarbageKind::Quarantined, name(&file.path), file.bytes);
        }
        for file in self.cache.expired(&self.policy.downloads)? {
            collection.add(GarbageKind::Download, name(&file.path), file.bytes);
        }
        for layer in &self.unneeded {
            collection.add(
                GarbageKind::Tree,
                layer.to_string(),
                self.trees.bytes(layer)?,
            );
        }
        collection.add_unfinished(self.trees.leftovers()?);
        Ok(self.collection)
    }

    /// Removes the evicted images from the index.
    pub(super) fn drop_images(&mut self, alone: &Hold) -> Result<()> {
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

    /// Deletes the blobs.
    pub(super) fn delete_blobs(&mut self) {
        for blob in std::mem::take(&mut self.blobs) {
            if self.delete(&blob.path) {
                self.collection
                    .add(GarbageKind::Blob, blob.digest.to_string(), blob.bytes);
            }
        }
    }

    /// Deletes files that are neither blobs nor trees.
    pub(super) fn delete_files(&mut self) {
        for file in std::mem::take(&mut self.staged) {
            if self.delete(&file.path) {
                self.collection
                    .add(GarbageKind::Leftover, name(&file.path), file.bytes);
            }
        }
        for file in std::mem::take(&mut self.quarantine) {
            if self.delete(&file.path) {
                self.collection
                    .add(GarbageKind::Quarantined, name(&file.path), file.bytes);
            }
        }
        match self.cache.expire_downloads(&self.policy.downloads) {
            Ok(downloads) => {
                for file in downloads {
                    self.collection
                        .add(GarbageKind::Download, name(&file.path), file.bytes);
                }
            }
            Err(error) => self.collection.failures.push(error.into()),
        }
        if let Err(error) = self.delete_derived() {
            self.collection.failures.push(error.into());
        }
    }

    /// Takes the trees out of their store.
    pub(super) fn detach_trees(&mut self) {
        for layer in std::mem::take(&mut self.unneeded) {
            let mut detached = self.trees.detach(&layer);
            if detached.is_err() && !self.open.is_empty() {
                // A full disk may have no room for another name before the blobs are freed.
                self.open.clear();
                detached = self.trees.detach(&layer);
            }
            match detached {
                Ok(reclaim) => self
                    .reclaims
                    .extend(reclaim.map(|reclaim| (layer, reclaim))),
                Err(error) => self.collection.failures.push(error),
            }
        }
    }

    /// Frees the space, after the lock was released.
    pub(super) fn free(mut self) -> Collection {
        drop(self.open);
        for (layer, reclaim) in self.reclaims {
            match reclaim() {
                Ok(bytes) => self
                    .collection
                    .add(GarbageKind::Tree, layer.to_string(), bytes),
                Err(error) => self.collection.failures.push(error),
            }
        }
        match self.trees.sweep() {
            Ok(bytes) => self.collection.add_unfinished(bytes),
            Err(error) => self.collection.failures.push(error),
        }
        self.collection
    }

    /// Deletes answers derived from old indexes, and stamps of last use of missing manifests.
    fn delete_derived(&self) -> Result<()> {
        let layout = self.cache.layout();
        let stamp = Stamp::current(layout)?;
        lookup::sweep(layout, stamp.as_ref()).map_err(Error::io("sweep", layout.lookup()))?;
        for file in files(&layout.used())? {
            let name = name(&file.path);
            let known = Digest::from_sha256_hex(&name).or_else(|_| Digest::from_sha512_hex(&name));
            if known.is_ok_and(|manifest| !layout.blob(&manifest).exists()) {
                remove(layout, &file.path)?;
            }
        }
        Ok(())
    }

    /// Removes a file's name. Its space is freed when it is closed, which takes long for large files.
    fn delete(&mut self, path: &Path) -> bool {
        // An unreadable file is freed right here.
        if self.open.len() < MAX_OPEN
            && let Ok(file) = beneath::open(self.cache.layout(), path, OFlags::RDONLY, 0)
        {
            self.open.push(file);
        }
        remove(self.cache.layout(), path).unwrap_or_else(|error| {
            self.collection.failures.push(error.into());
            false
        })
    }
}

impl Collection {
    fn add(&mut self, kind: GarbageKind, name: String, bytes: u64) {
        self.garbage.push(Garbage { kind, name, bytes });
    }

    fn add_unfinished(&mut self, bytes: u64) {
        if bytes > 0 {
            self.add(GarbageKind::Leftover, "unfinished layers".to_owned(), bytes);
        }
    }
}

/// Everything that the index, containers and lock files need.
fn mark(cache: &Cache, index: &Index, needs: &Needs) -> Result<Marked> {
    let held = eviction::entries_of(cache, &needs.manifests)?;
    let mut marked = cache.mark(index.manifests.iter().chain(&held))?;
    marked.layers.extend(&needs.layers);
    Ok(marked)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
