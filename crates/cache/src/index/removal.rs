//! Removing images from the index, even on a full disk.

use crate::blob::partial::remove;
use crate::cache::survey::files;
use crate::index::lookup;
use crate::index::select::spellings;
use crate::index::{Entry, Index, Stamp};
use crate::{Cache, Error, Hold, Platform, Reference, Result};

/// A removed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its name in the index.
    pub reference: Reference,
    /// Its platform, if the index had it.
    pub platform: Option<Platform>,
    /// The digest of its manifest, as in the index.
    pub manifest_digest: String,
}

impl Cache {
    /// Removes images from the index: all platforms of a reference, or one. Their blobs stay until the next collection, unless the
    /// disk is full. A reference with a digest removes what it finds (see [`Cache::find`]). Returns the removed images, if any.
    pub fn remove(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Vec<Removed>> {
        if Stamp::current(self.layout())?.is_none() {
            return Ok(Vec::new());
        }
        let mut removed = Vec::new();
        let mut change = |index: &mut Index| {
            removed = self.take_out(index, reference, platform)?;
            let mut keys: Vec<String> = removed
                .iter()
                .map(|removed: &Removed| removed.reference.key())
                .collect();
            keys.dedup();
            Ok(keys)
        };
        let changed = self
            .hold()
            .and_then(|hold| self.change_index(&hold, &mut change));
        match changed {
            Err(error) if error.is_full() => self.shrink_index(&self.hold_alone()?, &mut change)?,
            changed => changed?,
        }
        Ok(removed)
    }

    /// Shortens the index by any means: if there is no room for the new one, everything that it does not need is deleted first. Only in
    /// that case can a power cut leave an image listed whose blobs are gone.
    pub(crate) fn shrink_index(
        &self,
        alone: &Hold,
        change: &mut dyn FnMut(&mut Index) -> Result<Vec<String>>,
    ) -> Result<()> {
        let full = |result: &Result<()>| result.as_ref().is_err_and(Error::is_full);
        let result = self.change_index(alone, &mut *change);
        if !full(&result) {
            return result;
        }
        lookup::sweep(self.layout(), None).map_err(Error::io("sweep", self.layout().lookup()))?;
        for file in files(&self.layout().partial())?
            .iter()
            .filter(|file| file.is_staged())
        {
            remove(self.layout(), &file.path)?;
        }
        let result = self.change_index(alone, &mut *change);
        if !full(&result) {
            return result;
        }
        let (mut index, _) = Index::read(self.layout())?;
        change(&mut index)?;
        let survey = self.survey_marked(&self.mark(&index.manifests)?)?;
        for blob in survey.blobs.iter().filter(|blob| !blob.referenced) {
            remove(self.layout(), &blob.path)?;
        }
        self.change_index(alone, &mut *change)
    }

    /// Removes the images of a reference from an index, and returns them.
    fn take_out(
        &self,
        index: &mut Index,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Vec<Removed>> {
        let is_there = |name: &Reference| {
            let mut others = index.manifests.iter().filter_map(Entry::reference);
            others.any(|other| {
                other.name() == name.name() && (name.digest().is_some() || other == *name)
            })
        };
        let reference = &spellings(reference)
            .find(is_there)
            .unwrap_or_else(|| reference.clone());
        let pinned: Option<Vec<String>> = match reference.digest() {
            Some(_) => Some(
                self.matching(index, reference)?
                    .into_iter()
                    .map(|entry| entry.digest)
                    .collect(),
            ),
            None => None,
        };
        let means = |entry: &Entry| {
            entry
                .reference()
                .is_some_and(|other| match reference.digest() {
                    Some(_) => other.name() == reference.name(),
                    None => other == *reference,
                })
        };
        let mut removed = Vec::new();
        for entry in std::mem::take(&mut index.manifests) {
            if !means(&entry) {
                index.manifests.push(entry);
                continue;
            }
            // An entry named by a digest that it does not have can only be removed by that name.
            let misnamed =
                entry.reference().as_ref() == Some(reference) && !self.is_truly_named(&entry);
            // To remove one platform of an index, its entry is replaced by those of the others. An unreadable index can still be
            // removed.
            let parts = self.expand(&entry).unwrap_or_else(|_| vec![entry.clone()]);
            let (go, stay): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| {
                platform.is_none_or(|platform| part.platform().as_ref() == Some(platform))
                    && pinned
                        .as_ref()
                        .is_none_or(|pinned| pinned.contains(&part.digest) || misnamed)
            });
            match go.is_empty() {
                true => index.manifests.push(entry),
                false => index.manifests.extend(stay),
            }
            removed.extend(go.iter().filter_map(Removed::of));
        }
        Ok(removed)
    }
}

impl Removed {
    fn of(entry: &Entry) -> Option<Removed> {
        Some(Removed {
            reference: entry.reference()?,
            platform: entry.platform(),
            manifest_digest: entry.digest.clone(),
        })
    }
}
