//! Archives of `docker save` that are not OCI layouts: `manifest.json` lists configs, names and layers; see
//! <https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format>.

use std::io::{self, Read, Write};

use serde::Deserialize;

use crate::archive::load::{Contents, Decompress, File, LoadOptions};
use crate::image::publish::{CONFIG, manifest_of};
use crate::index::{Entry, MANIFEST};
use crate::{
    Compression, DiffId, Digest, Error, Expected, Hasher, Hold, Image, Layer, Progress, Reference,
    Result,
};

/// The most layers that an image may have. Overlay mounts accept fewer.
const MAX_LAYERS: usize = 1000;

/// The media type of a layer that had to be decompressed.
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    /// docker writes null where an image has none.
    layers: Option<Vec<String>>,
}

/// The fields of a config that are needed here.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

/// docker leaves out the list if an image has no layers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Option<Vec<DiffId>>,
}

impl Contents<'_> {
    /// Lists the images of a docker archive, and makes their manifests: such archives have none.
    pub(super) fn publish_docker(
        &mut self,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>> {
        let bytes = self.document("manifest.json")?;
        let items: Vec<Item> = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed(format!("malformed manifest.json: {error}")))?;
        if items.is_empty() {
            return Err(self.malformed("it contains no image"));
        }
        if options.name.is_some() && items.len() > 1 {
            return Err(
                self.malformed("it contains several images, which cannot all have the same name")
            );
        }
        let mut named = Vec::new();
        let mut nameless = 0;
        for item in &items {
            match self.names(item, options)? {
                names if names.is_empty() => nameless += 1,
                names => named.push((item, names)),
            }
        }
        self.note_nameless(named.is_empty(), nameless, progress)?;
        let hold = self.cache.hold()?;
        // All names are verified before the first image is listed.
        let mut made = Vec::new();
        for (item, names) in named {
            let (manifest, layers) = self.make_manifest(&hold, item, options)?;
            let digest = manifest.digest.parse()?;
            let own = |name| self.with_own_digest(name, &digest, &layers);
            let names = names.iter().map(own).collect::<Result<Vec<_>>>()?;
            made.push((manifest, names));
        }
        let provenance = self.provenance();
        let mut images = Vec::new();
        for (manifest, names) in made {
            for name in names {
                let entry = manifest.clone();
                images.push(self.cache.publish_entry(&hold, &name, entry, &provenance)?);
            }
        }
        Ok(images)
    }

    /// The names of an image. Names without a host are docker's here.
    fn names(&self, item: &Item, options: &LoadOptions) -> Result<Vec<Reference>> {
        if let Some(name) = &options.name {
            return Ok(vec![name.clone()]);
        }
        let parse = |tag: &String| match tag.parse::<Reference>() {
            Ok(name) => Ok(name.as_docker_means()),
            Err(error) => Err(self.malformed(error.to_string())),
        };
        item.repo_tags.iter().flatten().map(parse).collect()
    }

    /// Stores an image's config and layers, and a manifest for them, as blobs.
    fn make_manifest(
        &mut self,
        hold: &Hold,
        item: &Item,
        options: &LoadOptions,
    ) -> Result<(Entry, Vec<Digest>)> {
        let bytes = self.document(&item.config)?;
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed(format!("malformed {}: {error}", item.config)))?;
        let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
        let files = item.layers.as_deref().unwrap_or_default();
        if diff_ids.len() != files.len() || diff_ids.len() > MAX_LAYERS {
            return Err(self.malformed(format!(
                "{} names {} layers, manifest.json {}, at most {MAX_LAYERS} are possible",
                item.config,
                diff_ids.len(),
                files.len()
            )));
        }
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (name, diff_id) in files.iter().zip(diff_ids) {
            layers.push(self.commit_layer(hold, name, diff_id, options.decompress)?);
        }
        let (digest, size) = self.commit(hold, &item.config, &Expected::default())?;
        let config = Entry::new(CONFIG, &digest, size);
        let manifest = manifest_of(&layers, &config).to_string();
        let digest = self.cache.put_blob(hold, manifest.as_bytes())?;
        let entry = Entry::new(MANIFEST, &digest, manifest.len() as u64);
        Ok((entry, layers.iter().map(|layer| layer.digest).collect()))
    }

    /// Stores a layer's file as a blob. Its uncompressed content is compared with the digest in the config. The blob is the file as it
    /// is if an OCI layer may be compressed so, else the uncompressed archive.
    fn commit_layer(
        &mut self,
        hold: &Hold,
        name: &str,
        diff_id: DiffId,
        decompress: Option<Decompress>,
    ) -> Result<Layer> {
        let mut expected = Expected::default();
        let compression = self.compression(name, &diff_id)?;
        let media_type = compression.layer_media_type();
        match (compression, media_type, decompress) {
            // A plain archive is its own diff.
            (Compression::None, ..) => expected.digest = Some(diff_id.0),
            (_, Some(_), None) => {}
            (_, Some(_), Some(decompress)) => self.compare(name, &diff_id, decompress)?,
            (_, None, Some(decompress)) => {
                let mut plain = self.unnamed()?;
                self.decompress(name, decompress, &mut plain)?;
                let name = self.resolve(name)?;
                self.files.insert(name, File::Large(plain));
                expected.digest = Some(diff_id.0);
            }
            (format, None, None) => {
                let format = format.as_str();
                return Err(self.malformed(format!("{name} is compressed with {format}")));
            }
        }
        let (digest, size) = self.commit(hold, name, &expected)?;
        Ok(Layer {
            digest,
            size,
            media_type: media_type.unwrap_or(PLAIN_LAYER).to_owned(),
            diff_id,
        })
    }

    /// How a layer is compressed. Whatever it begins with, it is plain if its digest is that of the config.
    fn compression(&mut self, name: &str, diff_id: &DiffId) -> Result<Compression> {
        let resolved = self.resolve(name)?;
        let digest = match self.files.get_mut(&resolved) {
            Some(File::Small(bytes)) => Digest::of(bytes),
            Some(File::Large(partial)) => partial.digest()?,
            Some(File::Blob(digest, _)) => *digest,
            None => return Err(self.malformed(format!("{name} is missing"))),
        };
        if digest == diff_id.0 {
            return Ok(Compression::None);
        }
        let mut head = Vec::new();
        self.reader(name)?
            .take(Compression::HEAD as u64)
            .read_to_end(&mut head)
            .map_err(Error::io("read", name))?;
        Ok(Compression::detect(&head))
    }

    fn compare(&self, name: &str, diff_id: &DiffId, decompress: Decompress) -> Result<()> {
        self.compare_content(&mut self.reader(name)?, name, diff_id, decompress)
    }

    /// Checks that a layer's uncompressed content has the digest in the image's config. `from` is the compressed layer.
    pub(super) fn compare_content(
        &self,
        from: &mut dyn Read,
        name: &str,
        diff_id: &DiffId,
        decompress: Decompress,
    ) -> Result<()> {
        let mut writer = HashWriter(Hasher::new(diff_id.0.algorithm()));
        decompress(from, &mut writer)
            .map_err(|error| self.malformed(format!("{name} cannot be decompressed: {error}")))?;
        let actual = writer.0.finish();
        match actual == diff_id.0 {
            true => Ok(()),
            false => {
                let what = format!("the content of {name} in {}", self.what);
                Err(Error::digest_mismatch(what, diff_id.0, actual))
            }
        }
    }

    fn decompress(&self, name: &str, decompress: Decompress, to: &mut dyn Write) -> Result<()> {
        decompress(&mut self.reader(name)?, to)
            .map_err(|error| self.malformed(format!("{name} cannot be decompressed: {error}")))
    }
}

/// Hashes what is written to it.
struct HashWriter(Hasher);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
