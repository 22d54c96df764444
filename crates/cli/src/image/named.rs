//! Images that the user names by a reference or by an id.

use std::collections::BTreeSet;

use box_cache::{Cache, Image};

use crate::options;
use crate::report::Failure;

/// The cached images that a text names: those of a reference, one for each platform, or else the one whose id begins so. Never empty.
pub fn find(cache: &Cache, text: &str) -> Result<Vec<Image>, Failure> {
    // An id is not always a reference.
    let reference = options::reference(text);
    if let Ok(reference) = &reference {
        let images = cache.find_all(reference)?;
        if !images.is_empty() {
            return Ok(images);
        }
    }
    let mut images = by_id(cache, text)?;
    images.truncate(1);
    match images.is_empty() {
        true => Err(absent(reference?)),
        false => Ok(images),
    }
}

/// The image whose id begins with a text, once for each of its names. Empty if there is none.
pub fn by_id(cache: &Cache, id: &str) -> Result<Vec<Image>, Failure> {
    let images = cache.find_by_id(id)?;
    let ids: BTreeSet<String> = images
        .iter()
        .map(|image| image.manifest_digest.to_string())
        .collect();
    if ids.len() < 2 {
        return Ok(images);
    }
    let ids: Vec<String> = ids.into_iter().collect();
    Err(Failure::new(format!(
        "{id} is the beginning of several ids: {}",
        ids.join(", ")
    ))
    .hint("give more digits of the id, or a name"))
}

fn absent(name: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{name} is not in the cache")).hint("list the cached images: box images")
}
