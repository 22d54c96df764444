//! Taking images off the list, on a full disk too.

use crate::blob::partial::remove;
use crate::cache::survey::files;
use crate::index::lookup;
use crate::index::select::spellings;
use crate::index::{Entry, Index, Stamp};
use crate::{Cache, Error, Hold, Platform, Reference, Result};

/// An image that is no longer listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What it was listed as.
    pub reference: Reference,
    /// Its platform, where the index said it.
    pub platform: Option<Platform>,
    /// The digest of its manifest, as the index said it.
    pub manifest_digest: String,
}

impl Cache {
    /// Takes images off the list: all platforms of a reference, or one. Their blobs stay until the next collection,
    /// unless the disk is full. A reference with a digest takes away what it finds (see [`Cache::find`]). Returns what
    /// was taken away, which may be nothing.
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

    /// Changes the index so that it gets shorter, by any means: where there is no room to write the new one, everything
    /// that the new one does not need is deleted first. Only then can a power cut leave an image listed whose blobs are gone.
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

    /// Takes what a reference means out of an index, and returns it.
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
            // What an index calls by a digest that it does not have can only be named so.
            let misnamed =
                entry.reference().as_ref() == Some(reference) && !self.is_truly_named(&entry);
            // A list of platforms of which one is to go is replaced by those that stay. What cannot be read any more can
            // still be removed.
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
