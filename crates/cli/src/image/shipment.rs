//! What has to be pushed for an image: its files in the cache, byte for byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;

use box_cache::{Cache, Digest, Image, Layer};
use box_registry::{BlobFile, Document, RepositoryName, Shipment};

use crate::report::{Failure, cause};

/// The files of images, open.
pub struct Cargo {
    files: Vec<(Digest, u64, File)>,
    mount_from: Vec<Vec<String>>,
    documents: Vec<Document>,
    /// The layers that are left out, as their media types demand.
    pub left_out: Vec<Layer>,
}

impl Cargo {
    /// Opens what images need that are to be in `repository`, and looks up where its registry may have their blobs already.
    pub fn of(
        cache: &Cache,
        images: &[Image],
        repository: &RepositoryName,
    ) -> Result<Self, Failure> {
        let mut cargo = Self {
            files: Vec::new(),
            mount_from: Vec::new(),
            documents: Vec::new(),
            left_out: Vec::new(),
        };
        let elsewhere = elsewhere(cache, repository)?;
        for image in images {
            for layer in &image.layers {
                match is_foreign(&layer.media_type) {
                    true => cargo.left_out.push(layer.clone()),
                    false => {
                        cargo.add(cache, image, &layer.digest, Some(layer.size), &elsewhere)?
                    }
                }
            }
            cargo.add(cache, image, &image.config_digest, None, &elsewhere)?;
            cargo.documents.push(Document {
                bytes: cache.read_document(&image.manifest_digest)?,
                media_type: image.media_type.clone(),
                digest: image.manifest_digest,
            });
        }
        Ok(cargo)
    }

    /// Adds the document that names the manifests of all images.
    pub fn add_index(&mut self, index: Document) {
        self.documents.push(index);
    }

    /// The document that gets the tag.
    pub fn last(&self) -> Option<&Document> {
        self.documents.last()
    }

    /// All of it, on its way to a tag.
    pub fn shipment<'a>(&'a self, tag: Option<&'a str>) -> Shipment<'a> {
        let blobs = self.files.iter();
        Shipment {
            blobs: blobs
                .map(|(digest, size, file)| BlobFile::new(*digest, *size, file))
                .collect(),
            mount_from: self.mount_from.clone(),
            documents: self.documents.clone(),
            tag,
        }
    }

    fn add(
        &mut self,
        cache: &Cache,
        image: &Image,
        digest: &Digest,
        size: Option<u64>,
        elsewhere: &BTreeMap<Digest, Vec<String>>,
    ) -> Result<(), Failure> {
        if self.files.iter().any(|(other, ..)| other == digest) {
            return Ok(());
        }
        let name = &image.reference;
        let path = cache.layout().blob(digest);
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!(
                "cannot push {name}: its blob {digest} is not in the cache"
            ))
            .hint(format!("fetch it again: box pull {name}")),
            _ => Failure::new(format!("cannot open {}: {}", path.display(), cause(&error))),
        })?;
        let actual = cache.has_blob(digest)?.unwrap_or_default();
        if let Some(size) = size.filter(|size| *size != actual) {
            return Err(Failure::new(format!(
                "cannot push {name}: its blob {digest} has {actual} bytes instead of {size}"
            ))
            .hint("check the cache: box verify"));
        }
        self.files.push((*digest, actual, file));
        let from = elsewhere.get(digest).cloned().unwrap_or_default();
        self.mount_from.push(from);
        Ok(())
    }
}

/// Whether a layer must not be pushed: those of Windows, whose publisher distributes them alone.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

/// The other repositories of a registry by the blobs of their images that are cached: the registry may have them there. One is
/// enough, preferably one that was pulled from there.
fn elsewhere(
    cache: &Cache,
    repository: &RepositoryName,
) -> Result<BTreeMap<Digest, Vec<String>>, Failure> {
    let mut images = cache.images()?;
    images.sort_by_key(|image| image.provenance.url.is_empty());
    let mut found: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for image in &images {
        let Some(other) = RepositoryName::of(&image.reference) else {
            continue;
        };
        if other.host() != repository.host() || other.path() == repository.path() {
            continue;
        }
        let layers = image.layers.iter().map(|layer| layer.digest);
        for digest in layers.chain([image.config_digest]) {
            let paths = found.entry(digest).or_default();
            if paths.is_empty() {
                paths.push(other.path().to_owned());
            }
        }
    }
    Ok(found)
}
