//! Further names for images that are in the cache, and images named by their ids.

use std::collections::BTreeSet;

use crate::index::{Entry, Index};
use crate::{Cache, Error, Hold, Image, Reference, Result};

/// The fewest hexadecimal digits of an id: a word such as `cafe` may be one, but hardly by a slip of the finger.
const LEAST_ID: usize = 4;

impl Cache {
    /// Lists images under one more name, byte for byte and with what is known of their origin. The name then stands for these and for
    /// nothing else: what it stood for before is kept under its digest, for those who pinned it. If this fails or is killed, the index
    /// is unchanged.
    ///
    /// # Errors
    /// [`Error::Reference`] for a name with a digest, which only the content can give.
    pub fn tag(&self, hold: &Hold, images: &[Image], name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(Error::Reference {
                text: name.to_string(),
                reason: "the new name of an image cannot have a digest".to_owned(),
            });
        }
        let key = name.key();
        self.change_index(hold, |index| {
            let mut entries = Vec::with_capacity(images.len());
            for image in images {
                let mut entry = self.entry_of(index, image)?;
                entry.name(name);
                entry.platform = Some(serde_json::json!(image.platform));
                entries.push(entry);
            }
            let new: BTreeSet<&str> = entries.iter().map(|entry| entry.digest.as_str()).collect();
            let (former, others) = std::mem::take(&mut index.manifests)
                .into_iter()
                .partition(|entry: &Entry| entry.reference().as_ref() == Some(name));
            index.manifests = others;
            // An index of platforms stays in the cache as the images in it.
            let former: Vec<Entry> = former
                .iter()
                .flat_map(|entry| self.expand(entry).unwrap_or_default())
                .filter(|entry| !new.contains(entry.digest.as_str()))
                .collect();
            index.keep_replaced(former.iter());
            index.manifests.extend(entries);
            Ok(vec![key])
        })
    }

    /// The images whose id begins with these digits: the digest of the manifest, or of the config, which is the id of docker and podman.
    /// Nothing for a text that is no id. Each image is there once for each of its names.
    pub fn find_by_id(&self, id: &str) -> Result<Vec<Image>> {
        let digits = id.strip_prefix("sha256:").unwrap_or(id);
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !(LEAST_ID..=64).contains(&digits.len()) || !digits.bytes().all(hex) {
            return Ok(Vec::new());
        }
        let mut images = self.listing()?.images;
        images.retain(|image| {
            image.manifest_digest.hex().starts_with(digits)
                || image.config_digest.hex().starts_with(digits)
        });
        Ok(images)
    }

    /// The entry that lists an image, as it is in the index.
    fn entry_of(&self, index: &Index, image: &Image) -> Result<Entry> {
        let digest = image.manifest_digest.to_string();
        let named = |entry: &&Entry| entry.reference().as_ref() == Some(&image.reference);
        for entry in index.manifests.iter().filter(named) {
            let mut parts = self.expand(entry)?.into_iter();
            if let Some(mut found) = parts.find(|part| part.digest == digest) {
                found.current();
                return Ok(found);
            }
        }
        Err(Error::missing_blob(
            image.manifest_digest,
            self.layout().blob(&image.manifest_digest),
        ))
    }
}
