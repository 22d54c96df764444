//! Finding images in the index: by name, by content, by platform.
//!
//! A digest in a reference is always compared with content: with the digest of the manifest, or with that of the only layer's
//! blob. Both are verified when the bytes are read. The layer's digest counts only if box itself made the image from that layer:
//! of any other image, it says neither what is executed nor which tree the config names as that layer's. The digest of an index
//! means the images that were chosen from it. A digest in an entry's
//! name is only a name; an entry whose content has another digest is never found.

use std::collections::BTreeSet;

use crate::index::lookup;
use crate::index::{Entry, Index, Stamp};
use crate::{Cache, Digest, Error, Image, Platform, Provenance, Reference, Result};

impl Cache {
    /// Finds the image of that name that fits a machine of this platform best (see [`Platform::accepts`]). Costs the same for any
    /// number of images. Takes no lock.
    ///
    /// A reference with a digest finds the image of that name whose manifest has this digest, or that box made from the tarball with
    /// this digest (see [`Image::is_of`]), whatever its tag. `alpine` is Alpine's own release. If the cache has none, docker's
    /// image is found, which other tools call `alpine`.
    ///
    /// # Errors
    /// [`Error::DamagedImage`] if the image is listed but its manifest or config is missing or damaged. Fetching it again repairs
    /// it.
    pub fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>> {
        for name in spellings(reference) {
            let entries = self.entries(&name)?;
            let rank = |entry: &Entry| platform.accepts(&entry.platform()?);
            let best = entries
                .iter()
                .filter_map(|entry| Some((rank(entry)?, entry)));
            if let Some((_, entry)) = best.min_by_key(|(rank, _)| *rank) {
                return self.image_of(entry).map(Some);
            }
        }
        Ok(None)
    }

    /// Finds the image of exactly this name for exactly this platform.
    ///
    /// # Errors
    /// Those of [`Cache::find`].
    pub fn find_exactly(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<Image>> {
        let entries = self.entries(reference)?;
        let mut found = entries.iter();
        let found = found.find(|entry| entry.platform().as_ref() == Some(platform));
        found.map(|entry| self.image_of(entry)).transpose()
    }

    /// All images of a reference, one per platform, without damaged ones.
    pub fn find_all(&self, reference: &Reference) -> Result<Vec<Image>> {
        let entries = self.meant(reference)?;
        let mut images: Vec<Image> = entries
            .iter()
            .filter_map(|entry| self.image_of(entry).ok())
            .collect();
        images.sort_by(|a, b| a.platform.cmp(&b.platform));
        Ok(images)
    }

    /// The platforms of a reference in the cache.
    pub fn platforms(&self, reference: &Reference) -> Result<Vec<Platform>> {
        let entries = self.meant(reference)?;
        let mut platforms: Vec<Platform> = entries.iter().filter_map(Entry::platform).collect();
        platforms.sort();
        platforms.dedup();
        Ok(platforms)
    }

    fn meant(&self, reference: &Reference) -> Result<Vec<Entry>> {
        for name in spellings(reference) {
            let entries = self.entries(&name)?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    }

    /// The entries of a reference, one per platform.
    fn entries(&self, reference: &Reference) -> Result<Vec<Entry>> {
        let Some(stamp) = Stamp::current(self.layout())? else {
            return Ok(Vec::new());
        };
        if let Some(mut entries) = lookup::get(self.layout(), &stamp, reference) {
            // Earlier versions left answers here that were found by name.
            if let Some(digest) = reference.digest() {
                entries.retain(|entry| self.has_content(entry, digest));
            }
            return Ok(entries);
        }
        let (index, stamp) = Index::read(self.layout())?;
        let entries = self.matching(&index, reference)?;
        // Misses are not kept: they would pile up, and what follows a miss takes longer anyway.
        if let Some(stamp) = stamp
            && !entries.is_empty()
        {
            lookup::put(self.layout(), &stamp, reference, &entries);
        }
        Ok(entries)
    }

    /// The entries of a reference in an index, one per platform. Of several with the same content, the best verified one is kept.
    pub(crate) fn matching(&self, index: &Index, reference: &Reference) -> Result<Vec<Entry>> {
        let Some(digest) = reference.digest() else {
            let expanded: Result<Vec<_>> = index
                .named(&reference.key())
                .map(|entry| self.expand(entry))
                .collect();
            return Ok(expanded?.into_iter().flatten().collect());
        };
        let of_name = |entry: &&Entry| {
            let other = entry.reference();
            other.is_some_and(|other| other.name() == reference.name())
                && self.is_truly_named(entry)
        };
        let mut matching = Vec::new();
        for entry in index.manifests.iter().filter(of_name) {
            let whole = entry.is_index() && entry.digest == digest.to_string();
            let mut parts = self.expand(entry)?;
            parts.retain(|part| whole || self.has_content(part, digest));
            matching.extend(parts);
        }
        matching.sort_by_key(|entry| std::cmp::Reverse(entry.provenance().verified.rank()));
        let mut seen = BTreeSet::new();
        matching.retain(|entry| seen.insert(entry.digest.clone()));
        Ok(matching)
    }

    /// Whether the digest in an entry's name, if any, is that of its content.
    pub(crate) fn is_truly_named(&self, entry: &Entry) -> bool {
        match entry.reference().as_ref().and_then(Reference::digest) {
            Some(digest) => self.has_content(entry, digest),
            None => true,
        }
    }

    /// The error for an entry whose name has a digest that its content does not have.
    pub(crate) fn misnamed(&self, reference: &Reference, entry: &Entry) -> Error {
        Error::Document {
            what: "index",
            path: self.layout().index(),
            reason: format!("what it calls {reference} has the digest {}", entry.digest),
        }
    }

    /// Whether the manifest has this digest, or the only layer of an image that box made from it, or the index that it was chosen
    /// from.
    fn has_content(&self, entry: &Entry, digest: &Digest) -> bool {
        let provenance = entry.provenance();
        entry.digest == digest.to_string()
            || provenance.is_of_tarball() && self.only_layer(entry) == Some(*digest)
            || provenance.index() == Some(*digest) && self.is_listed(digest, &entry.digest)
    }

    /// The digest of the layer of an image with a single layer.
    fn only_layer(&self, entry: &Entry) -> Option<Digest> {
        if !entry.is_manifest() {
            return None;
        }
        match self.read_manifest(entry).ok()?.layers.as_slice() {
            [layer] => Some(layer.digest),
            _ => None,
        }
    }
}

impl Entry {
    /// Its provenance, as box noted it.
    pub(crate) fn provenance(&self) -> Provenance {
        let notes = self.annotations.as_ref();
        notes.map_or_else(Provenance::unknown, Provenance::from_annotations)
    }
}

/// A reference, followed by what other tools mean by it, if that is something else.
pub(crate) fn spellings(reference: &Reference) -> impl Iterator<Item = Reference> {
    let theirs = reference.as_docker_means();
    let differs = theirs != *reference;
    [Some(reference.clone()), differs.then_some(theirs)]
        .into_iter()
        .flatten()
}
