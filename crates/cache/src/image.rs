//! Images: a manifest and its config, read and checked together.

pub(crate) mod provenance;
pub(crate) mod publish;
pub(crate) mod served;
pub(crate) mod staged_image;

use std::io;

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use crate::cache::beneath;
use crate::index::{Entry, Index};
use crate::{Cache, DiffId, Digest, Error, Platform, Provenance, Reference, Result};
use box_host::{is_full, is_unwritable};

/// The largest manifest, index or config in bytes: what registries accept.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;

/// One image for one platform in the cache. Manifest and config were verified against their digests and against each other;
/// the layers' blobs were not read.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in the index.
    pub reference: Reference,
    /// The platform it runs on.
    pub platform: Platform,
    /// The digest of its manifest: the image's identity.
    pub manifest_digest: Digest,
    /// The media type of its manifest.
    pub media_type: String,
    /// The digest of its config document.
    pub config_digest: Digest,
    /// How to run it.
    pub config: ImageConfiguration,
    /// Its layers, bottom first.
    pub layers: Vec<Layer>,
    /// Size of manifest, config and all layers as stored (compressed), in bytes.
    pub size: u64,
    /// Where it came from.
    pub provenance: Provenance,
}

impl Image {
    /// Whether box made it from the tarball with this digest and from nothing else. An image that merely contains that layer does
    /// not count: its maker chose what is executed, and which tree the config names as that layer's.
    pub fn is_of(&self, tarball: &Digest) -> bool {
        self.provenance.is_of_tarball()
            && matches!(self.layers.as_slice(), [layer] if layer.digest == *tarball)
    }
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// The size of the stored bytes.
    pub size: u64,
    /// Their media type, such as `application/vnd.oci.image.layer.v1.tar+gzip`.
    pub media_type: String,
    /// The digest of the plain tar archive.
    pub diff_id: DiffId,
}

/// All images of the cache.
#[derive(Debug, Default)]
pub struct Listing {
    /// The usable ones, sorted by reference and platform.
    pub images: Vec<Image>,
    /// The ones whose manifest or config is missing or damaged.
    pub damaged: Vec<DamagedImage>,
}

/// An image in the index that cannot be read.
#[derive(Debug)]
pub struct DamagedImage {
    /// Its name in the index.
    pub reference: Reference,
    /// Its platform, if the index has it.
    pub platform: Option<Platform>,
    /// The digest of its manifest, as in the index.
    pub manifest_digest: String,
    /// Why it cannot be read.
    pub error: Error,
}

/// The fields of a manifest that box needs; see <https://github.com/opencontainers/image-spec/blob/main/manifest.md>.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Blob,
    /// Go's encoder writes an empty list as null.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) layers: Vec<Blob>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Describes what is wrong with a document that was referred to by this media type. A document that is a manifest to one reader
    /// and an index to another is refused (CVE-2021-41190).
    pub(crate) fn fault(&self, media_type: &str) -> Option<String> {
        match (self.schema_version, &self.media_type, &self.manifests) {
            (2, _, Some(_)) => Some("it is an index as well".to_owned()),
            (2, Some(own), None) if own != media_type => {
                Some(format!("its mediaType is {own:?}, expected {media_type:?}"))
            }
            (2, _, None) => None,
            (other, ..) => Some(format!("its schemaVersion is {other}, expected 2")),
        }
    }
}

/// Reads a config. If it names no architecture or operating system, the descriptor's platform counts, or else docker's rule:
/// the image is for this machine.
pub fn read_config(
    bytes: &[u8],
    described: Option<Platform>,
) -> serde_json::Result<(ImageConfiguration, Platform)> {
    let mut document: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
    let text = |key: &str| {
        let value = document.get(key).and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let (os, architecture, mut variant) = (text("os"), text("architecture"), text("variant"));
    let mut platform = Platform::new(&os, &architecture, Some(&variant));
    if let Some(described) = described {
        let same = Platform::new(described.os(), described.architecture(), None)
            == Platform::new(&os, &architecture, None);
        if architecture.is_empty() || (variant.is_empty() && same) {
            variant = described.variant().unwrap_or_default().to_owned();
            platform = match (os.is_empty(), architecture.is_empty()) {
                (false, true) => Platform::new(&os, described.architecture(), Some(&variant)),
                _ => described,
            };
        }
    }
    for (key, value) in [
        ("os", platform.os()),
        ("architecture", platform.architecture()),
    ] {
        if document
            .get(key)
            .and_then(serde_json::Value::as_str)
            .is_none_or(str::is_empty)
        {
            document.insert(key.to_owned(), value.into());
        }
    }
    // docker leaves out the list of layers where it is empty.
    if let Some(rootfs) = document
        .get_mut("rootfs")
        .and_then(serde_json::Value::as_object_mut)
        && rootfs
            .get("diff_ids")
            .is_none_or(serde_json::Value::is_null)
    {
        rootfs.insert("diff_ids".to_owned(), serde_json::json!([]));
    }
    let config = serde_json::from_value(document.into())?;
    Ok((config, platform))
}

/// Reads null as the default value.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The fields of a descriptor that box needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Cache {
    /// All images, usable or damaged. Reads every manifest and config.
    pub fn listing(&self) -> Result<Listing> {
        let (index, _) = Index::read(self.layout())?;
        let mut listing = Listing::default();
        for entry in &index.manifests {
            let Some(reference) = entry.reference() else {
                continue;
            };
            if !self.is_truly_named(entry) {
                let error = self.misnamed(&reference, entry);
                listing
                    .damaged
                    .push(DamagedImage::new(reference, entry, error));
                continue;
            }
            match self.expand(entry) {
                Ok(entries) => {
                    for entry in entries {
                        match self.image_of(&entry) {
                            Ok(image) => listing.images.push(image),
                            Err(error) => listing.damaged.push(DamagedImage::new(
                                reference.clone(),
                                &entry,
                                error,
                            )),
                        }
                    }
                }
                Err(error) => listing
                    .damaged
                    .push(DamagedImage::new(reference, entry, error)),
            }
        }
        listing
            .images
            .sort_by(|a, b| (&a.reference, &a.platform).cmp(&(&b.reference, &b.platform)));
        Ok(listing)
    }

    /// All usable images. Damaged ones are only logged, see [`Cache::listing`].
    pub fn images(&self) -> Result<Vec<Image>> {
        let listing = self.listing()?;
        for damaged in &listing.damaged {
            tracing::warn!(reference = %damaged.reference, error = %damaged.error, "an image in the cache is damaged");
        }
        Ok(listing.images)
    }

    /// Records that an image is used now, for the collector's budget. Does nothing in a cache that is not writable.
    pub fn touch(&self, image: &Image) -> Result<()> {
        let path = self.layout().used().join(image.manifest_digest.hex());
        match beneath::touch(self.layout(), &path) {
            Err(error)
                if !(is_unwritable(&error)
                    || is_full(&error)
                    || error.kind() == io::ErrorKind::NotFound) =>
            {
                Err(Error::io("note the use of an image in", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// An entry for each platform of an entry: itself, or those of the index that it points to.
    pub(crate) fn expand(&self, entry: &Entry) -> Result<Vec<Entry>> {
        if !entry.is_index() {
            let mut entry = entry.clone();
            // Tools that write a single platform leave it out of the index.
            if entry.is_manifest() && entry.platform().is_none() {
                entry.platform = self
                    .image_of(&entry)
                    .ok()
                    .map(|image| serde_json::json!(image.platform));
            }
            return Ok(if entry.is_manifest() {
                vec![entry]
            } else {
                Vec::new()
            });
        }
        let bytes = self.read_blob(&entry.digest(self.layout())?, entry.size, MAX_DOCUMENT)?;
        let list: Index = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed("index", entry, error))?;
        if list.is_manifest_too() {
            return Err(self.malformed("index", entry, "it is a manifest as well"));
        }
        let mut parts = Vec::new();
        for inner in list.manifests.into_iter().filter(Entry::is_manifest) {
            // Attestations are listed among the images that they describe.
            if inner
                .platform()
                .is_some_and(|platform| platform.is_unknown())
            {
                continue;
            }
            let part = Entry {
                annotations: entry.annotations.clone(),
                ..inner
            };
            parts.extend(
                self.expand(&part)?
                    .into_iter()
                    .filter(|part| part.platform().is_some()),
            );
        }
        Ok(parts)
    }

    /// The image of an entry.
    pub(crate) fn image_of(&self, entry: &Entry) -> Result<Image> {
        let reference = entry.reference().ok_or_else(|| Error::Document {
            what: "index",
            path: self.layout().index(),
            reason: format!("the entry {} has no valid name", entry.digest),
        })?;
        self.try_load(&reference, entry)
            .map_err(|source| match source {
                source @ Error::Io { .. } => source,
                source => Error::DamagedImage {
                    reference: Box::new(reference.clone()),
                    platform: Box::new(
                        entry
                            .platform()
                            .unwrap_or_else(|| Platform::new("unknown", "unknown", None)),
                    ),
                    source: Box::new(source),
                },
            })
    }

    fn try_load(&self, reference: &Reference, entry: &Entry) -> Result<Image> {
        let manifest_digest = entry.digest(self.layout())?;
        let manifest = self.read_manifest(entry)?;
        let bytes = self.read_blob(&manifest.config.digest, manifest.config.size, MAX_DOCUMENT)?;
        let path = self.layout().blob(&manifest.config.digest);
        let malformed = |reason| Error::Document {
            what: "image config",
            path: path.clone(),
            reason,
        };
        let (config, platform) =
            read_config(&bytes, entry.platform()).map_err(|error| malformed(error.to_string()))?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers.len() {
            return Err(malformed(format!(
                "it names {} layers, the manifest {}",
                diff_ids.len(),
                manifest.layers.len()
            )));
        }
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for (blob, diff_id) in manifest.layers.iter().zip(diff_ids) {
            layers.push(Layer {
                digest: blob.digest,
                size: blob.size,
                media_type: blob.media_type.clone(),
                diff_id: diff_id
                    .parse()
                    .map_err(|error: Error| malformed(error.to_string()))?,
            });
        }
        let stored = layers
            .iter()
            .map(|layer| layer.size)
            .chain([entry.size, manifest.config.size]);
        Ok(Image {
            reference: reference.clone(),
            platform,
            manifest_digest,
            media_type: entry.media_type.clone(),
            config_digest: manifest.config.digest,
            size: stored.fold(0, u64::saturating_add),
            config,
            layers,
            provenance: entry.provenance(),
        })
    }

    /// The manifest of an entry, verified.
    pub(crate) fn read_manifest(&self, entry: &Entry) -> Result<Manifest> {
        let bytes = self.read_blob(&entry.digest(self.layout())?, entry.size, MAX_DOCUMENT)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed("manifest", entry, error))?;
        match manifest.fault(&entry.media_type) {
            None => Ok(manifest),
            Some(fault) => Err(self.malformed("manifest", entry, fault)),
        }
    }

    fn malformed(&self, what: &'static str, entry: &Entry, reason: impl ToString) -> Error {
        let path = match entry.digest(self.layout()) {
            Ok(digest) => self.layout().blob(&digest),
            Err(_) => self.layout().index(),
        };
        Error::Document {
            what,
            path,
            reason: reason.to_string(),
        }
    }
}

impl DamagedImage {
    fn new(reference: Reference, entry: &Entry, error: Error) -> DamagedImage {
        DamagedImage {
            reference,
            platform: entry.platform(),
            manifest_digest: entry.digest.clone(),
            error,
        }
    }
}
