//! What `docker save` writes, as far as it is not an OCI layout: `manifest.json`, a list of configs, names and layers; see
//! <https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format>.

use serde::Deserialize;

use crate::archive::load::{Contents, LoadOptions, familiar};
use crate::index::{Entry, MANIFEST};
use crate::publish::{CONFIG, manifest_of};
use crate::{DiffId, Digest, Expected, Hold, Image, Layer, Reference, Result};

/// The most layers that an image may have; overlay mounts take fewer.
const MAX_LAYERS: usize = 1000;

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What is needed of a config here.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<DiffId>,
}

impl Contents<'_> {
    /// Lists the images of a docker archive. Their manifests are made here: such archives have none.
    pub(super) fn publish_docker(&mut self, options: &LoadOptions) -> Result<Vec<Image>> {
        let bytes = self.document("manifest.json")?;
        let items: Vec<Item> = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed(format!("malformed manifest.json: {error}")))?;
        if items.is_empty() {
            return Err(self.malformed("there is no image in it"));
        }
        if options.name.is_some() && items.len() > 1 {
            return Err(self.malformed("it holds several images, which cannot all have one name"));
        }
        let hold = self.cache.hold()?;
        let mut images = Vec::new();
        for item in items {
            let names = self.names(&item, options)?;
            let manifest = self.make_manifest(&hold, &item)?;
            let (digest, size): (Digest, u64) = (manifest.digest.parse()?, manifest.size);
            for name in names {
                let provenance = self.provenance();
                images.push(self.cache.publish_manifest(
                    &hold,
                    &name,
                    MANIFEST,
                    &digest,
                    size,
                    &provenance,
                )?);
            }
        }
        Ok(images)
    }

    fn names(&self, item: &Item, options: &LoadOptions) -> Result<Vec<Reference>> {
        if let Some(name) = &options.name {
            return Ok(vec![name.clone()]);
        }
        let tags = item.repo_tags.as_deref().unwrap_or_default();
        if tags.is_empty() {
            return Err(self.malformed("its image has no name"));
        }
        let parse = |tag: &String| {
            familiar(tag)
                .parse()
                .map_err(|error: crate::Error| self.malformed(error.to_string()))
        };
        tags.iter().map(parse).collect()
    }

    /// Makes blobs of an image's config and layers, and of a manifest for them.
    fn make_manifest(&mut self, hold: &Hold, item: &Item) -> Result<Entry> {
        let bytes = self.document(&item.config)?;
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed(format!("malformed {}: {error}", item.config)))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != item.layers.len() || diff_ids.len() > MAX_LAYERS {
            return Err(self.malformed(format!(
                "{} names {} layers, manifest.json {}, at most {MAX_LAYERS} are possible",
                item.config,
                diff_ids.len(),
                item.layers.len()
            )));
        }
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (name, diff_id) in item.layers.iter().zip(diff_ids) {
            layers.push(self.commit_layer(hold, name, diff_id)?);
        }
        let (digest, size) = self.commit(hold, &item.config, &Expected::default())?;
        let config = Entry::new(CONFIG, &digest, size);
        let manifest = manifest_of(&layers, &config).to_string();
        let digest = self.cache.put_blob(hold, manifest.as_bytes())?;
        Ok(Entry::new(MANIFEST, &digest, manifest.len() as u64))
    }

    fn commit_layer(&mut self, hold: &Hold, name: &str, diff_id: DiffId) -> Result<Layer> {
        let (suffix, expected) = match self.head(name)? {
            [0x1f, 0x8b, ..] => ("+gzip", Expected::default()),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ("+zstd", Expected::default()),
            // A plain archive is its own diff: it can be verified here and now.
            _ => (
                "",
                Expected {
                    digest: Some(diff_id.0),
                    size: None,
                },
            ),
        };
        let (digest, size) = self.commit(hold, name, &expected)?;
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        Ok(Layer {
            digest,
            size,
            media_type,
            diff_id,
        })
    }
}
