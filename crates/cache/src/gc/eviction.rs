//! The budget: which images are dropped when the cache has grown too large.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::cache::survey::Marked;
use crate::gc::{BoxError, LayerTrees, Needs};
use crate::index::{Entry, Index, MANIFEST};
use crate::{Cache, DiffId, Digest, Platform, Provenance, Reference, Result};

/// An image that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Its name in the index.
    pub reference: Reference,
    /// Its platform, if the index had it.
    pub platform: Option<Platform>,
    /// The digest of its manifest, as in the index.
    pub manifest_digest: String,
    /// When it was last used, in seconds since the epoch; 0 if unknown.
    pub used: u64,
}

impl Evicted {
    /// Whether it is the image of an entry.
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        entry.digest == self.manifest_digest && entry.reference().as_ref() == Some(&self.reference)
    }
}

/// An image and everything that it needs.
struct Candidate {
    evicted: Evicted,
    marked: Marked,
    /// When it was last used: seconds and nanoseconds.
    used: (i64, i64),
}

/// Chooses images to drop, least recently used first, until blobs and trees fit into the budget. If dropping every image that may
/// be dropped is not enough, fewer bytes are freed.
pub(crate) fn choose(
    cache: &Cache,
    index: &Index,
    needs: &Needs,
    trees: &dyn LayerTrees,
    budget: u64,
) -> Result<Vec<Evicted>, BoxError> {
    let everything = cache.mark(&index.manifests)?;
    let survey = cache.survey_marked(&everything)?;
    let blobs: BTreeMap<Digest, u64> = survey
        .blobs
        .iter()
        .map(|blob| (blob.digest, blob.bytes))
        .collect();
    let mut layers: BTreeMap<DiffId, u64> = BTreeMap::new();
    for layer in trees.list()? {
        layers.insert(layer, trees.bytes(&layer)?);
    }
    // How many entries need each: it is freed with the last one.
    let mut blob_users: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut layer_users: BTreeMap<DiffId, usize> = BTreeMap::new();
    for entry in &index.manifests {
        let marked = cache.mark([entry])?;
        marked
            .blobs
            .iter()
            .for_each(|digest| *blob_users.entry(*digest).or_default() += 1);
        marked
            .layers
            .iter()
            .for_each(|layer| *layer_users.entry(*layer).or_default() += 1);
    }
    let used_blobs = blob_users.keys().filter_map(|digest| blobs.get(digest));
    let used_layers = layer_users.keys().filter_map(|layer| layers.get(layer));
    let mut total: u64 = used_blobs.chain(used_layers).sum();

    let mut candidates = candidates(cache, index.manifests.iter(), needs)?;
    candidates.sort_by_key(|candidate| candidate.used);
    let mut chosen: Vec<Evicted> = Vec::new();
    for candidate in candidates {
        if total <= budget {
            break;
        }
        for digest in &candidate.marked.blobs {
            if release(&mut blob_users, digest) {
                total -= blobs.get(digest).copied().unwrap_or(0);
            }
        }
        for layer in &candidate.marked.layers {
            if release(&mut layer_users, layer) {
                total -= layers.get(layer).copied().unwrap_or(0);
            }
        }
        chosen.push(candidate.evicted);
    }
    Ok(chosen)
}

/// Removes one user. Returns whether it was the last.
fn release<K: Ord>(users: &mut BTreeMap<K, usize>, key: &K) -> bool {
    match users.get_mut(key) {
        Some(count) => {
            *count -= 1;
            *count == 0
        }
        None => false,
    }
}

/// The images that no tag means any more and that nothing needs.
pub(crate) fn replaced(cache: &Cache, index: &Index, needs: &Needs) -> Result<Vec<Evicted>> {
    let replaced = index.manifests.iter().filter(|entry| entry.is_replaced());
    let candidates = candidates(cache, replaced, needs)?;
    Ok(candidates.into_iter().map(|found| found.evicted).collect())
}

/// The images that may be dropped.
fn candidates<'e>(
    cache: &Cache,
    entries: impl Iterator<Item = &'e Entry>,
    needs: &Needs,
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for entry in entries {
        let Some(reference) = entry.reference() else {
            continue;
        };
        let marked = cache.mark([entry])?;
        let needed = marked
            .layers
            .iter()
            .any(|layer| needs.layers.contains(layer))
            || marked
                .blobs
                .iter()
                .any(|digest| needs.manifests.contains(digest));
        if !needed {
            let used = last_used(cache, entry);
            let evicted = Evicted {
                used: u64::try_from(used.0).unwrap_or(0),
                platform: entry.platform(),
                manifest_digest: entry.digest.clone(),
                reference,
            };
            candidates.push(Candidate {
                evicted,
                marked,
                used,
            });
        }
    }
    Ok(candidates)
}

/// When an image was last used, or else fetched: seconds since the epoch and nanoseconds.
fn last_used(cache: &Cache, entry: &Entry) -> (i64, i64) {
    let stamp = entry.digest.parse::<Digest>().ok().and_then(|digest| {
        let metadata = fs::metadata(cache.layout().used().join(digest.hex())).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec()))
    });
    stamp.unwrap_or_else(|| {
        let fetched = entry
            .annotations
            .as_ref()
            .map_or(0, |notes| Provenance::from_annotations(notes).fetched);
        (i64::try_from(fetched).unwrap_or(0), 0)
    })
}

/// Entries for manifests of which only the digest is known, if they are in the cache.
pub(crate) fn entries_of(cache: &Cache, manifests: &BTreeSet<Digest>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for digest in manifests {
        if let Some(size) = cache.has_blob(digest)? {
            entries.push(Entry::new(MANIFEST, digest, size));
        }
    }
    Ok(entries)
}
