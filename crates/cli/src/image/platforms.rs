//! Indexes of images for several platforms.

use box_cache::{Cache, Digest, Image};
use box_registry::{Document, Parsed};
use serde_json::json;

use crate::report::{Failure, warn};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The index of images in the cache: byte for byte the one that they came with, if they are all of it, or else one that is made of
/// them. The same images in the same order make the same bytes.
pub fn index(cache: &Cache, images: &[Image]) -> Result<Document, Failure> {
    if let Some(index) = original(cache, images)? {
        return Ok(index);
    }
    let mut manifests = Vec::with_capacity(images.len());
    for image in images {
        let size = cache.read_document(&image.manifest_digest)?.len();
        manifests.push(json!({
            "mediaType": image.media_type,
            "digest": image.manifest_digest,
            "size": size,
            "platform": image.platform,
        }));
    }
    let mut index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    index.sort_all_objects();
    let bytes = index.to_string().into_bytes();
    Ok(Document {
        digest: Digest::of(&bytes),
        media_type: INDEX.to_owned(),
        bytes,
    })
}

/// The index that all images came with, if it lists no other manifests: a registry refuses an index of which it lacks a part.
fn original(cache: &Cache, images: &[Image]) -> Result<Option<Document>, Failure> {
    let mut found: Option<Document> = None;
    for image in images {
        let Some((bytes, media_type)) = cache.index_of(image)? else {
            return Ok(None);
        };
        let digest = Digest::of(&bytes);
        match &found {
            Some(other) if other.digest != digest => return Ok(None),
            Some(_) => {}
            None => {
                found = Some(Document {
                    bytes,
                    media_type,
                    digest,
                });
            }
        }
    }
    let Some(index) = found else {
        return Ok(None);
    };
    let Parsed::Index(list) = index.parse()? else {
        return Ok(None);
    };
    let is_there = |digest: &str| {
        let mut digests = images.iter().map(|image| image.manifest_digest.to_string());
        digests.any(|other| other == digest)
    };
    let lacking = list.manifests().iter();
    let lacking = lacking.filter(|entry| !is_there(&entry.digest().to_string()));
    match lacking.count() {
        0 => Ok(Some(index)),
        count => {
            warn(format!(
                "pushing a new index: {count} of the {} manifests in the index {} are not in the cache",
                list.manifests().len(),
                index.digest
            ));
            Ok(None)
        }
    }
}
