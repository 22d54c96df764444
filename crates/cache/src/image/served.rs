//! Images whose documents a registry serves. They are kept byte for byte: the digests of manifest and index are the image's identity
//! to everybody else, and what is pushed again must be what was pulled.

use serde_json::json;

use crate::image::{MAX_DOCUMENT, Manifest, read_config};
use crate::index::{Entry, Index};
use crate::{
    Cache, DiffId, Digest, Error, Image, Layer, Platform, Provenance, Reference, Result, Served,
};

/// How deep indexes may be nested.
const MAX_DEPTH: usize = 4;

/// An image whose manifest and config come from a registry. Whoever makes it has compared the documents with the digests by which
/// they were asked for.
#[derive(Clone, Debug)]
pub struct ServedImage {
    /// Its name in the index of the cache. An image with the same reference and platform is replaced.
    pub reference: Reference,
    /// The platform by the index; counts where the config has none.
    pub described: Option<Platform>,
    /// The media type of the manifest.
    pub media_type: String,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The config.
    pub config: Vec<u8>,
    /// The index from which the manifest was chosen, and those nested in it on the way, outermost first. They are kept, too.
    pub indexes: Vec<Vec<u8>>,
    /// Where it came from. Its [`Provenance::served`] is replaced.
    pub provenance: Provenance,
}

/// What the documents of a served image say.
pub(crate) struct Parts {
    pub(crate) platform: Platform,
    pub(crate) layers: Vec<Layer>,
    pub(crate) manifest: Entry,
}

impl ServedImage {
    /// All documents.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &[u8]> {
        let own = [self.manifest.as_slice(), self.config.as_slice()];
        own.into_iter()
            .chain(self.indexes.iter().map(Vec::as_slice))
    }

    /// Reads the documents and compares them with each other. Notes in the provenance how they were found.
    pub(crate) fn parts(&self) -> Result<Parts> {
        let malformed = |what, reason: String| Error::Document {
            what,
            path: self.reference.to_string().into(),
            reason,
        };
        if let Some(long) = self.documents().find(|d| d.len() as u64 > MAX_DOCUMENT) {
            return Err(Error::TooLarge {
                what: format!("a document of {} bytes of {}", long.len(), self.reference),
                limit: MAX_DOCUMENT,
            });
        }
        let manifest: Manifest = serde_json::from_slice(&self.manifest)
            .map_err(|error| malformed("manifest", error.to_string()))?;
        if let Some(fault) = manifest.fault(&self.media_type) {
            return Err(malformed("manifest", fault));
        }
        if let Some(kind) = manifest.artifact() {
            return Err(malformed(
                "manifest",
                format!("it is no image but {kind:?}"),
            ));
        }
        let config = (Digest::of(&self.config), self.config.len() as u64);
        if config != (manifest.config.digest, manifest.config.size) {
            let reason = format!("its config is not {}", manifest.config.digest);
            return Err(malformed("manifest", reason));
        }
        let (config, platform) = read_config(&self.config, self.described.clone())
            .map_err(|error| malformed("image config", error.to_string()))?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers.len() {
            let (named, expected) = (diff_ids.len(), manifest.layers.len());
            let reason = format!("it names {named} layers, the manifest {expected}");
            return Err(malformed("image config", reason));
        }
        let layers = manifest.layers.iter().zip(diff_ids).map(|(blob, diff_id)| {
            let diff_id = diff_id.parse::<DiffId>();
            Ok(Layer {
                digest: blob.digest,
                size: blob.size,
                media_type: blob.media_type.clone(),
                diff_id: diff_id.map_err(|error| malformed("image config", error.to_string()))?,
            })
        });
        let digest = Digest::of(&self.manifest);
        let mut entry = Entry::new(&self.media_type, &digest, self.manifest.len() as u64);
        entry.platform = Some(json!(platform));
        Ok(Parts {
            layers: layers.collect::<Result<_>>()?,
            platform,
            manifest: entry,
        })
    }

    /// The provenance to note, with the index.
    pub(crate) fn noted(&self) -> Provenance {
        let index = self.indexes.first().map(|bytes| Digest::of(bytes));
        Provenance {
            served: Some(Served { index }),
            ..self.provenance.clone()
        }
    }
}

/// The type of an artifact, if the document is the manifest of one and not of an image.
pub fn artifact_type(manifest: &[u8]) -> Option<String> {
    serde_json::from_slice::<Manifest>(manifest)
        .ok()?
        .artifact()
}

impl Cache {
    /// The index from which all these images were chosen when they were pulled, as its registry served it, and its media type. `None`
    /// if there is no such index, or if it lists anything else, such as images for other platforms.
    pub fn served_index(&self, images: &[Image]) -> Result<Option<(Vec<u8>, String)>> {
        let of = |image: &Image| image.provenance.index();
        let Some(digest) = images.first().and_then(of) else {
            return Ok(None);
        };
        if images.iter().any(|image| of(image) != Some(digest)) {
            return Ok(None);
        }
        let bytes = self.read_document(&digest)?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| Error::Document {
            what: "index",
            path: self.layout().blob(&digest),
            reason: error.to_string(),
        })?;
        let is_there = |entry: &Entry| {
            let mut manifests = images.iter().map(|image| image.manifest_digest.to_string());
            manifests.any(|manifest| manifest == entry.digest)
        };
        let media_type = index.media_type().to_owned();
        Ok(index
            .manifests
            .iter()
            .all(is_there)
            .then_some((bytes, media_type)))
    }

    /// Whether an index of the cache lists a manifest, itself or in an index nested in it.
    pub(crate) fn is_listed(&self, index: &Digest, manifest: &str) -> bool {
        let lists = |index: &Index| index.manifests.iter().any(|entry| entry.digest == manifest);
        match self.nested(index) {
            Ok(indexes) => indexes.iter().any(|(_, index)| lists(index)),
            Err(error) => {
                tracing::debug!(%index, %error, "an index cannot be read");
                false
            }
        }
    }

    /// The digests of an index and of those nested in it that the cache has.
    pub(crate) fn indexes(&self, index: &Digest) -> Result<Vec<Digest>> {
        match self.nested(index) {
            Ok(indexes) => Ok(indexes.into_iter().map(|(digest, _)| digest).collect()),
            Err(error @ Error::Io { .. }) => Err(error),
            // A damaged index needs nothing but itself.
            Err(_) => Ok(vec![*index]),
        }
    }

    fn nested(&self, index: &Digest) -> Result<Vec<(Digest, Index)>> {
        let mut found = Vec::new();
        let mut todo = vec![(*index, 0)];
        while let Some((digest, depth)) = todo.pop() {
            if depth > MAX_DEPTH || self.has_blob(&digest)?.is_none() {
                continue;
            }
            let bytes = self.read_document(&digest)?;
            let Ok(index) = serde_json::from_slice::<Index>(&bytes) else {
                continue;
            };
            let inner = index.manifests.iter().filter(|entry| entry.is_index());
            let inner = inner.filter_map(|entry| entry.digest.parse().ok());
            todo.extend(inner.map(|digest| (digest, depth + 1)));
            found.push((digest, index));
        }
        Ok(found)
    }
}

impl Entry {
    /// Whether a tag that now means the image of this entry cannot mean `other` any more, although it is for another platform: a
    /// registry serves one index, or one image, under a tag, and both are for processors of one kind.
    pub(crate) fn outdates(&self, other: &Entry) -> bool {
        let (own, others) = (self.provenance(), other.provenance());
        let (Some(own), Some(others)) = (own.served, others.served) else {
            return false;
        };
        let kind = |entry: &Entry| {
            let platform = entry.platform()?;
            Some((platform.os().to_owned(), platform.architecture().to_owned()))
        };
        let same = own.index.is_some() && own.index == others.index;
        !same && self.digest != other.digest && kind(self) == kind(other)
    }
}
