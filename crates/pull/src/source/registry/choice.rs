//! The images of an index, and the one for a platform.

use std::sync::Arc;

use box_cache::{Digest, Platform};
use box_registry::Document;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use crate::error::Result;

/// How deep indexes may be nested, and how many may be nested in one.
const MAX_DEPTH: usize = 4;
const MAX_NESTED: usize = 16;

/// How many images of one index may be without a platform: each must be fetched to know it.
const MAX_UNKNOWN: usize = 16;

/// How many images an index may have.
const MAX_IMAGES: usize = 1000;

/// The annotation of attestations, as BuildKit writes them.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// One image of an index.
pub(super) struct Candidate {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its platform by the index.
    pub platform: Option<Platform>,
    /// The indexes that lead to it, outermost first. Shared, as an index may be large and have many images.
    pub indexes: Vec<Arc<Vec<u8>>>,
    /// Its manifest, if the index contains it.
    pub embedded: Option<Document>,
}

/// The images of an index, with those of the indexes nested in it.
#[derive(Default)]
pub(super) struct Candidates {
    pub images: Vec<Candidate>,
    attestations: usize,
    /// Entries for unknown platforms, and those that are no images.
    others: usize,
}

/// Fetches the index of a digest.
type Nested<'n> = &'n mut dyn FnMut(&Digest) -> Result<(ImageIndex, Vec<u8>)>;

impl Candidates {
    /// The images of an index of these bytes.
    pub fn of(index: ImageIndex, bytes: Vec<u8>, nested: Nested<'_>) -> Result<Self> {
        let mut found = Self::default();
        let mut todo = vec![(index, vec![Arc::new(bytes)])];
        let mut fetched = 0;
        while let Some((index, path)) = todo.pop() {
            let mut inner = Vec::new();
            for entry in index.manifests() {
                match found.sort_out(entry, &path) {
                    Some(digest) if path.len() <= MAX_DEPTH && fetched < MAX_NESTED => {
                        fetched += 1;
                        let (index, bytes) = nested(&digest)?;
                        let path = path.iter().cloned().chain([Arc::new(bytes)]);
                        inner.push((index, path.collect()));
                    }
                    Some(_) => found.others += 1,
                    None => {}
                }
            }
            todo.extend(inner.into_iter().rev());
        }
        Ok(found)
    }

    /// Takes an entry of an index. Returns its digest if it is an index itself.
    fn sort_out(&mut self, entry: &Descriptor, path: &[Arc<Vec<u8>>]) -> Option<Digest> {
        let Ok(digest) = entry.digest().to_string().parse::<Digest>() else {
            self.others += 1;
            return None;
        };
        let attests = entry
            .annotations()
            .as_ref()
            .is_some_and(|notes| notes.contains_key(ATTESTATION));
        let platform = platform_of(entry);
        let unknown = platform
            .as_ref()
            .is_some_and(|p| p.os() == "unknown" || p.architecture() == "unknown");
        match entry.media_type() {
            _ if attests => self.attestations += 1,
            _ if unknown => self.others += 1,
            MediaType::ImageIndex => return Some(digest),
            MediaType::Other(kind) if kind == LIST => return Some(digest),
            MediaType::ImageManifest => self.add(digest, platform, path),
            MediaType::Other(kind) if kind == MANIFEST => self.add(digest, platform, path),
            _ => self.others += 1,
        }
        None
    }

    fn add(&mut self, digest: Digest, platform: Option<Platform>, path: &[Arc<Vec<u8>>]) {
        if self.images.len() >= MAX_IMAGES {
            self.others += 1;
            return;
        }
        self.images.push(Candidate {
            digest,
            platform,
            indexes: path.to_vec(),
            embedded: None,
        });
    }

    /// The platforms that are known.
    pub fn platforms(&self) -> Vec<Platform> {
        let images = self.images.iter();
        images.filter_map(|image| image.platform.clone()).collect()
    }

    /// The best image for a platform, or else the images whose platform is unknown.
    pub fn choose(self, wanted: &Platform) -> (Option<Candidate>, Vec<Candidate>) {
        let rank = |image: &Candidate| wanted.accepts(image.platform.as_ref()?);
        let ranks = self.images.iter().map(rank).enumerate();
        let known = ranks.filter_map(|(at, rank)| Some((rank?, at)));
        let best = known.min().map(|(_, at)| at);
        let mut images = self.images;
        match best {
            Some(at) => (Some(images.swap_remove(at)), Vec::new()),
            None => {
                images.retain(|image| image.platform.is_none());
                images.truncate(MAX_UNKNOWN);
                (None, images)
            }
        }
    }

    /// What of the index is left out where all its images are wanted, in words.
    pub fn left_out(&self) -> Option<String> {
        let count = |number: usize, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        };
        let attestations = count(self.attestations, "attestation", "attestations");
        let others = count(self.others, "entry", "entries");
        let others = others.map(|text| format!("{text} for unknown platforms"));
        let parts: Vec<String> = attestations.into_iter().chain(others).collect();
        (!parts.is_empty()).then(|| format!("leaving out {}", parts.join(" and ")))
    }
}

/// Docker's media types of a manifest and of an index.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The platform of an entry. An entry without an architecture has none.
fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    let architecture = platform.architecture().to_string();
    let variant = platform.variant().as_deref();
    (!architecture.is_empty())
        .then(|| Platform::new(&platform.os().to_string(), &architecture, variant))
}

#[cfg(test)]
mod tests;
