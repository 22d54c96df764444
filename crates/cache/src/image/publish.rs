//! Adding images to the cache.

use std::fs::File;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use serde::Serialize;
use serde_json::{Value, json};

use crate::blob::staging::StagedFile;
use crate::cache::lock::Lock;
use crate::image::MAX_DOCUMENT;
use crate::image::staged_image::media_type_of;
use crate::index::lookup;
use crate::index::{Entry, Index, MANIFEST};
use crate::{Cache, Digest, Error, Hold, Image, Layer, Platform, Provenance, Reference, Result};

pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The parts of an image whose layers are blobs of the cache.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Its name in the index. An image with the same reference and platform is replaced.
    pub reference: Reference,
    /// The platform it runs on; overrides the config.
    pub platform: Platform,
    /// Its layers, bottom first; overrides the config's list of diff ids.
    pub layers: Vec<Layer>,
    /// How to run it. It must contain no time and no host name, so that the same image has the same digest everywhere.
    pub config: ImageConfiguration,
    /// Where it came from.
    pub provenance: Provenance,
}

impl NewImage {
    /// The digest that its manifest will have. Neither reads nor writes files.
    pub fn manifest_digest(&self) -> Digest {
        let config = config_of(self).to_string().into_bytes();
        let entry = Entry::new(CONFIG, &Digest::of(&config), config.len() as u64);
        Digest::of(manifest_of(&self.layers, &entry).to_string().as_bytes())
    }
}

impl Cache {
    /// Makes an image from layers that are in the cache, and lists it. When this returns, the image survives a power cut. If it fails
    /// or is killed, the index is unchanged.
    ///
    /// The manifest depends only on layers, platform and config: it is the same on every machine.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] if a layer is not in the cache.
    pub fn publish(&self, hold: &Hold, image: NewImage) -> Result<Image> {
        self.stage(hold, image, Vec::new())?.publish(None)
    }

    /// Lists an image whose manifest, config and layers are in the cache, byte for byte as another tool made them. `entry` is the
    /// manifest's descriptor; its platform counts if the config has none.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] if one of its blobs is not in the cache, [`Error::DamagedImage`] if its documents do not fit together.
    pub(crate) fn publish_entry(
        &self,
        hold: &Hold,
        reference: &Reference,
        mut entry: Entry,
        provenance: &Provenance,
    ) -> Result<Image> {
        entry.name(reference);
        let image = self.image_of(&entry)?;
        for layer in &image.layers {
            self.require_layer(layer)?;
        }
        let marker = self.stage_marker(hold)?;
        let directories = self.directories(marker.is_some());
        if let Some(marker) = marker {
            marker.sync()?;
            marker.name(&self.layout().marker())?;
        }
        let platform = &image.platform;
        self.list(hold, reference, platform, &entry, provenance, &directories)
    }

    /// Adds an entry for an image to the index after syncing `directories`. It replaces the entry with the same reference and
    /// platform, which is kept under its digest (see [`Entry::replaced`]).
    pub(crate) fn list(
        &self,
        hold: &Hold,
        reference: &Reference,
        platform: &Platform,
        manifest: &Entry,
        provenance: &Provenance,
        directories: &[PathBuf],
    ) -> Result<Image> {
        let mut entry = manifest.clone();
        entry.name(reference);
        entry.platform = Some(json!(platform));
        provenance.annotate(entry.annotations.get_or_insert_default());
        if !self.is_truly_named(&entry) {
            return Err(self.misnamed(reference, &entry));
        }
        let mut image = self.image_of(&entry)?;
        image.provenance = provenance.clone();
        let key = reference.key();
        self.change_index_after(hold, directories, |index| {
            let same =
                |other: &&Entry| other.digest == entry.digest && other.tagged() == entry.tagged();
            let known = index.manifests.iter().filter(same).map(Entry::provenance);
            if let Some(known) = known.max_by_key(|known| known.verified.rank()) {
                image.provenance = provenance.clone().after(known);
            }
            image
                .provenance
                .annotate(entry.annotations.get_or_insert_default());
            let (mut same, mut former) = (Vec::new(), Vec::new());
            for (at, other) in index.manifests.iter().enumerate() {
                if other.reference().as_ref() != Some(reference) {
                    continue;
                }
                match other.is_index() {
                    // An index of platforms under this name is replaced by an entry for each.
                    true => same.push((at, self.expand(other).unwrap_or_default())),
                    false
                        if self.platform_of(other).as_ref() == Some(platform)
                            || entry.outdates(other) =>
                    {
                        same.push((at, Vec::new()))
                    }
                    false => {}
                }
            }
            for (at, parts) in same.into_iter().rev() {
                let stay = parts
                    .into_iter()
                    .filter(|part| part.platform().as_ref() != Some(platform));
                let gone = index.manifests.splice(at..=at, stay);
                former.extend(gone.filter(|gone| gone.digest != entry.digest));
            }
            index.keep_replaced(former.iter().filter(|_| reference.digest().is_none()));
            index.manifests.push(entry);
            Ok(vec![key])
        })?;
        self.touch(&image)?;
        Ok(image)
    }

    /// Reads, changes and replaces the index under its lock. `change` returns the keys that it changed; without any, nothing is
    /// written.
    pub(crate) fn change_index(
        &self,
        hold: &Hold,
        change: impl FnOnce(&mut Index) -> Result<Vec<String>>,
    ) -> Result<()> {
        self.change_index_after(hold, &[], change)
    }

    /// Like [`Cache::change_index`], after syncing `directories`.
    fn change_index_after(
        &self,
        hold: &Hold,
        directories: &[PathBuf],
        change: impl FnOnce(&mut Index) -> Result<Vec<String>>,
    ) -> Result<()> {
        let _lock = Lock::exclusive(self.layout(), &self.layout().index_lock())?;
        let (mut index, before) = Index::read(self.layout())?;
        let keys = change(&mut index)?;
        if keys.is_empty() {
            return Ok(());
        }
        for key in &keys {
            index.arrange(key, &Platform::host());
        }
        let after = index.write(self.layout(), hold, directories)?;
        lookup::carry(self.layout(), before.as_ref(), &after, &keys);
        for key in &keys {
            let entries: Vec<Entry> = index.named(key).cloned().collect();
            let plain = |entry: &Entry| entry.is_manifest() && entry.platform().is_some();
            // References with digests are found by content, not by name.
            if let Some(reference) = entries.first().and_then(Entry::reference)
                && reference.digest().is_none()
                && entries.iter().all(plain)
            {
                lookup::put(self.layout(), &after, &reference, &entries);
            }
        }
        Ok(())
    }

    /// The platform of an entry, read from its config if the index does not have it.
    fn platform_of(&self, entry: &Entry) -> Option<Platform> {
        entry
            .platform()
            .or_else(|| Some(self.image_of(entry).ok()?.platform))
    }

    pub(crate) fn require_layer(&self, layer: &Layer) -> Result<()> {
        let path = self.layout().blob(&layer.digest);
        match self.has_blob(&layer.digest)? {
            Some(size) if size == layer.size => Ok(()),
            Some(actual) => Err(Error::SizeMismatch {
                what: path.display().to_string(),
                expected: layer.size,
                actual,
            }),
            None => Err(Error::missing_blob(layer.digest, path)),
        }
    }

    /// Writes a JSON document aside unless the cache has it, and returns its descriptor.
    pub(crate) fn stage_document<'h>(
        &self,
        hold: &'h Hold,
        what: &'static str,
        document: &Value,
        files: &mut Vec<(StagedFile<'h>, PathBuf)>,
    ) -> Result<Entry> {
        let bytes = document.to_string().into_bytes();
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                what: what.to_owned(),
                limit: MAX_DOCUMENT,
            });
        }
        let digest = Digest::of(&bytes);
        let staged = self.stage_blob(hold, &digest, &bytes)?;
        files.extend(staged.map(|file| (file, self.layout().blob(&digest))));
        Ok(Entry::new(media_type_of(what), &digest, bytes.len() as u64))
    }

    /// The directories to sync before an image is listed. For the first image they include the cache's own.
    pub(crate) fn directories(&self, first: bool) -> Vec<PathBuf> {
        let mut directories = vec![self.layout().blobs()];
        if first {
            let root = self.layout().root();
            directories.push(root.join("blobs"));
            // We may not be allowed to open the parent directory.
            let parent = root.parent().filter(|parent| File::open(parent).is_ok());
            directories.extend(parent.map(Path::to_path_buf));
        }
        directories
    }
}

/// The config document: the caller's with the image's platform and layers, and with sorted keys.
pub(crate) fn config_of(image: &NewImage) -> Value {
    let mut config = image.config.clone();
    let diff_ids: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    config
        .rootfs_mut()
        .set_typ("layers".to_owned())
        .set_diff_ids(diff_ids);
    config.set_os(image.platform.os().into());
    config.set_architecture(image.platform.architecture().into());
    config.set_variant(image.platform.variant().map(str::to_owned));
    sorted(&config)
}

pub(crate) fn manifest_of(layers: &[Layer], config: &Entry) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}))
        .collect();
    sorted(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": config.media_type, "digest": config.digest, "size": config.size},
        "layers": layers,
    }))
}

/// The document as JSON with sorted keys, so that equal documents are equal bytes.
fn sorted(document: &impl Serialize) -> Value {
    let mut value = json!(document);
    value.sort_all_objects();
    value
}

impl Entry {
    /// An entry for a blob, without name and platform.
    pub(crate) fn new(media_type: &str, digest: &Digest, size: u64) -> Entry {
        Entry {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size,
            platform: None,
            annotations: None,
            rest: serde_json::Map::new(),
        }
    }

    /// Names the entry by a reference.
    pub(crate) fn name(&mut self, reference: &Reference) {
        let annotations = self.annotations.get_or_insert_default();
        annotations.insert(crate::index::REF_NAME.to_owned(), reference.key());
    }
}
