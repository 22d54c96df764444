//! One image of a registry: its manifest and its config.

use std::collections::HashMap;
use std::sync::Arc;

use box_cache::{Algorithm, DiffId, Digest, Platform, Verified, artifact_type, read_config};
use box_registry::{Document, Parsed, points_inward};
use box_transfer::{Location, Printable};
use oci_spec::image::{Descriptor as Blob, ImageConfiguration, ImageManifest};

use super::Asked;
use crate::error::{Error, Result};
use crate::resolved::{Descriptor, Proof, Resolved, Served};

/// Largest config that is read, in bytes: what registries accept.
const CONFIG_LIMIT: u64 = 4 << 20;

/// How many characters of a publisher's version are kept.
const MAX_VERSION: usize = 64;

/// The label and annotation of the version.
const VERSION: &str = "org.opencontainers.image.version";

/// A manifest with its config.
pub(super) struct Manifest {
    document: Document,
    parsed: ImageManifest,
    config_bytes: Vec<u8>,
    config: ImageConfiguration,
    indexes: Vec<Arc<Vec<u8>>>,
    described: Option<Platform>,
    /// The platform by the config, or else by the index.
    pub platform: Platform,
}

impl Manifest {
    /// Reads a manifest, and fetches its config.
    pub fn read(
        asked: &Asked<'_>,
        document: Document,
        indexes: Vec<Arc<Vec<u8>>>,
        described: Option<Platform>,
    ) -> Result<Self> {
        if let Some(kind) = artifact_type(&document.bytes) {
            return Err(Error::Artifact {
                reference: asked.query.reference.to_string(),
                kind: Printable::new(&kind),
            });
        }
        let parsed = match document.parse()? {
            Parsed::Image(manifest) => manifest,
            Parsed::Index(_) => {
                return Err(asked.malformed("an index is listed as a manifest"));
            }
        };
        let config_bytes = asked.repository.blob(parsed.config(), CONFIG_LIMIT)?;
        let (config, platform) = read_config(&config_bytes, described.clone())
            .map_err(|error| asked.malformed(&format!("its config is malformed: {error}")))?;
        if let Some(described) = &described
            && (described.os(), described.architecture())
                != (platform.os(), platform.architecture())
        {
            return Err(asked.malformed(&format!(
                "the index calls it {described}, its config {platform}"
            )));
        }
        Ok(Self {
            document,
            parsed,
            config_bytes,
            config,
            indexes,
            described,
            platform,
        })
    }

    /// What the reference stands for.
    pub fn resolved(self, asked: &Asked<'_>) -> Result<Resolved> {
        let layers = self.layers(asked)?;
        let digest = self.document.digest;
        let version = self.version();
        Ok(Resolved {
            version: version
                .clone()
                .unwrap_or_else(|| format!("{}:{}", digest.algorithm().as_str(), digest.short())),
            layers,
            proof: Proof {
                signature: None,
                digests: Verified::Checksum,
            },
            current: asked.query.reference.digest().is_none(),
            searched: Vec::new(),
            served: Some(Served {
                digest,
                media_type: self.document.media_type,
                manifest: self.document.bytes,
                config: self.config_bytes,
                indexes: self.indexes,
                described: self.described,
                platform: self.platform,
                version,
                origin: asked.name.to_string(),
            }),
        })
    }

    fn layers(&self, asked: &Asked<'_>) -> Result<Vec<Descriptor>> {
        let blobs = self.parsed.layers();
        let diff_ids = self.config.rootfs().diff_ids();
        if blobs.len() != diff_ids.len() {
            return Err(asked.malformed(&format!(
                "its manifest has {} layers, its config names {}",
                blobs.len(),
                diff_ids.len()
            )));
        }
        let layers = blobs.iter().zip(diff_ids);
        let layers = layers.map(|(blob, diff_id)| layer(asked, blob, diff_id));
        let layers: Vec<Descriptor> = layers.collect::<Result<_>>()?;
        // A layer that comes twice is fetched, and compared with its diff_id, once.
        let mut diff_ids = HashMap::new();
        for layer in &layers {
            let first = diff_ids.entry(layer.digest).or_insert(layer.diff_id);
            if *first != layer.diff_id {
                return Err(asked.malformed(&format!(
                    "it has the layer {} twice, with two diff_ids",
                    layer.digest
                )));
            }
        }
        Ok(layers)
    }

    /// The version that the publisher noted: short, and printable.
    fn version(&self) -> Option<String> {
        let labels = self.config.config().as_ref();
        let label = labels.and_then(|config| config.labels().as_ref()?.get(VERSION));
        let notes = self.parsed.annotations().as_ref();
        let version = label.or_else(|| notes?.get(VERSION))?;
        let plain = version.chars().all(|c| c.is_ascii_graphic());
        (plain && !version.is_empty() && version.len() <= MAX_VERSION).then(|| version.clone())
    }
}

fn layer(asked: &Asked<'_>, blob: &Blob, diff_id: &str) -> Result<Descriptor> {
    let text = blob.digest().to_string();
    let digest: Digest = text
        .parse()
        .map_err(|error| asked.malformed(&format!("a layer has no usable digest: {error}")))?;
    if digest.algorithm() != Algorithm::Sha256 {
        return Err(asked.malformed(&format!(
            "the layer {digest} is not named by a sha256 digest, and box keeps no others"
        )));
    }
    let diff_id: DiffId = diff_id.parse().map_err(|error| {
        asked.malformed(&format!("its config names no usable diff_id: {error}"))
    })?;
    let urls = blob.urls().as_deref().unwrap_or_default();
    let served = asked.repository.locations(&digest);
    let foreign = urls.iter().filter_map(|url| foreign(url));
    let mut locations: Vec<Location> = foreign
        .filter(|location| !is_inward(location, &served))
        .collect();
    locations.extend(served);
    Ok(Descriptor {
        name: format!("the layer {digest} of {}", asked.name),
        locations,
        digest,
        sha512: None,
        size: Some(blob.size()),
        media_type: Some(blob.media_type().to_string()),
        diff_id: Some(diff_id),
    })
}

/// Whether a place is on this machine or its own link, and the registry, the last of those that serve the layer, is not.
fn is_inward(location: &Location, served: &[Location]) -> bool {
    match (location, served.last()) {
        (Location::Http(url), Some(Location::Http(registry))) => points_inward(url, registry),
        _ => false,
    }
}

/// A place outside the registry where a layer is published. Files of this machine are not.
fn foreign(url: &str) -> Option<Location> {
    match url.parse().ok()? {
        Location::File(_) => None,
        location @ Location::Http(_) => Some(location),
    }
}
