//! Indexes of images for several platforms.

use box_cache::{Cache, Digest, Image};
use box_registry::Document;
use serde_json::json;

use crate::report::Failure;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index of images in the cache: the one that they were pulled with, byte for byte, if it lists nothing else. Otherwise one is made;
/// the same images in the same order make the same bytes.
pub fn index(cache: &Cache, images: &[Image]) -> Result<Document, Failure> {
    if let Some((bytes, media_type)) = cache.served_index(images)? {
        return Ok(Document {
            digest: Digest::of(&bytes),
            media_type,
            bytes,
        });
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
