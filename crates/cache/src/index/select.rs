//! Choosing among the images of the index: by name, by content, by platform.
//!
//! A digest in a reference is always compared with content: with the digest of the manifest, or of the only layer's blob, both
//! of which are compared with the bytes when these are read. The layer's counts only where box itself made the image of it: of
//! another image it tells neither what is executed nor whose tree the config calls that layer's. The digest in the name that an
//! entry has is only a name, and one that its content does not have makes the entry one that nothing finds.

use std::collections::BTreeSet;

use crate::index::lookup;
use crate::index::{Entry, Index, Stamp};
use crate::{Cache, Digest, Error, Image, Platform, Provenance, Reference, Result};

impl Cache {
    /// Finds the image that a machine of this platform is to run: the best fitting one (see [`Platform::accepts`]) of that
    /// name. Costs the same whatever the number of images; takes no lock.
    ///
    /// A reference with a digest finds the image of that name whose manifest has this digest, or that box made of the
    /// tarball which has it (see [`Image::is_of`]), whatever its tag. `alpine` is Alpine's own release; where there is none in the cache, docker's image of that name is
    /// found, which other tools call so.
    ///
    /// # Errors
    /// [`Error::DamagedImage`] where the image is listed but its manifest or config is missing or damaged: fetching it
    /// again repairs it.
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

    /// The image of just this name for just this platform.
    ///
    /// # Errors
    /// As [`Cache::find`].
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

    /// The images that a reference means, one for each platform. Damaged ones are left out.
    pub fn find_all(&self, reference: &Reference) -> Result<Vec<Image>> {
        let entries = self.meant(reference)?;
        let mut images: Vec<Image> = entries
            .iter()
            .filter_map(|entry| self.image_of(entry).ok())
            .collect();
        images.sort_by(|a, b| a.platform.cmp(&b.platform));
        Ok(images)
    }

    /// The platforms that there are of a reference.
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

    /// The entries that a name means, each for one platform.
    fn entries(&self, reference: &Reference) -> Result<Vec<Entry>> {
        let Some(stamp) = Stamp::current(self.layout())? else {
            return Ok(Vec::new());
        };
        if let Some(mut entries) = lookup::get(self.layout(), &stamp, reference) {
            // What an earlier version left here went by names.
            if let Some(digest) = reference.digest() {
                entries.retain(|entry| self.has_content(entry, digest));
            }
            return Ok(entries);
        }
        let (index, stamp) = Index::read(self.layout())?;
        let entries = self.matching(&index, reference)?;
        // Unknown references are not kept: they would pile up, and what follows a miss takes longer anyway.
        if let Some(stamp) = stamp
            && !entries.is_empty()
        {
            lookup::put(self.layout(), &stamp, reference, &entries);
        }
        Ok(entries)
    }

    /// The entries of an index that a name means, each for one platform. Of several with the same content the one that most
    /// vouches for comes first.
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

    /// Whether the digest in an entry's name, if there is one, is its content's.
    pub(crate) fn is_truly_named(&self, entry: &Entry) -> bool {
        match entry.reference().as_ref().and_then(Reference::digest) {
            Some(digest) => self.has_content(entry, digest),
            None => true,
        }
    }

    /// The failure of using an entry whose name has a digest that it does not have.
    pub(crate) fn misnamed(&self, reference: &Reference, entry: &Entry) -> Error {
        Error::Document {
            what: "index",
            path: self.layout().index(),
            reason: format!("what it calls {reference} has the digest {}", entry.digest),
        }
    }

    /// Whether the manifest has this digest, or the only layer of an image that box made of it.
    fn has_content(&self, entry: &Entry, digest: &Digest) -> bool {
        entry.digest == digest.to_string()
            || entry.provenance().is_of_tarball() && self.only_layer(entry) == Some(*digest)
    }

    /// The digest of the layer of an image that has but one.
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
    /// What box noted of its origin.
    pub(crate) fn provenance(&self) -> Provenance {
        let notes = self.annotations.as_ref();
        notes.map_or_else(Provenance::unknown, Provenance::from_annotations)
    }
}

/// A reference, and then what other tools mean by it where that is something else.
pub(crate) fn spellings(reference: &Reference) -> impl Iterator<Item = Reference> {
    let theirs = reference.as_docker_means();
    let differs = theirs != *reference;
    [Some(reference.clone()), differs.then_some(theirs)]
        .into_iter()
        .flatten()
}
