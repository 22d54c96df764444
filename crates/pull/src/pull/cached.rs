//! What the cache has of an image that may be there already.

use box_cache::{Image, Platform, Reference};
use box_registry::RepositoryName;

use super::Pull;
use crate::error::Result;
use crate::remote::Remote;
use crate::resolved::{Resolved, Served};

impl Pull<'_> {
    /// The image in the cache, if a demanded digest leaves nothing to ask a mirror for.
    pub(super) fn settled(&self) -> Result<Option<Image>> {
        let Some(demanded) = self.demanded()? else {
            return Ok(None);
        };
        let image = self.cached(&self.reference.with_digest(demanded))?;
        // With a lock file the tag itself must mean this image, and another image may be listed under it.
        let tag = self.reference.without_digest();
        let fits = |i: &Image| self.reference.digest().is_some() || i.reference == tag;
        Ok(image.filter(|image| fits(image) && self.is_trusted(image)))
    }

    /// The image in the cache, if its registry says that the tag still means it. This is one request without a document, which
    /// registries do not count as a pull.
    pub(super) fn confirmed(&self, remote: &Remote<'_>) -> Result<Option<Image>> {
        if RepositoryName::of(self.reference).is_none() || self.demanded()?.is_some() {
            return Ok(None);
        }
        let Some(image) = self.cached(self.reference)? else {
            return Ok(None);
        };
        let Some(served) = image.provenance.served.as_ref() else {
            return Ok(None);
        };
        let known = served.index.unwrap_or(image.manifest_digest);
        let same = remote.digest_of(self.reference)? == Some(known);
        Ok(Some(image).filter(|image| same && self.is_trusted(image)))
    }

    /// The image in the cache, if it is just this release.
    pub(super) fn unchanged(&self, resolved: &Resolved) -> Result<Option<Image>> {
        let listed_as = self.listed_as(resolved);
        let image = match &resolved.served {
            Some(served) => self.exactly(&listed_as, served)?,
            None => self.cached(&listed_as)?,
        };
        let demanded = self.demanded()?;
        Ok(image.filter(|i| {
            let means = |d| d == i.manifest_digest || resolved.means(&d);
            demanded.is_none_or(means) && resolved.is_image(i) && self.is_trusted(i)
        }))
    }

    /// A whole image in the cache. A damaged image counts as missing, so that it is fetched again.
    fn cached(&self, reference: &Reference) -> Result<Option<Image>> {
        let platform = &self.options.platform;
        let found = match RepositoryName::of(reference) {
            Some(_) => self.cache.find(reference, platform),
            None => self.cache.find_exactly(reference, platform),
        };
        let image = match found {
            Err(error) if error.is_damage() => {
                self.note(&format!("{error}; fetching it again"));
                return Ok(None);
            }
            found => found?,
        };
        match image {
            Some(image) if fits(platform, &image.platform) => self.whole(image),
            _ => Ok(None),
        }
    }

    /// The image of a registry that is listed under a reference and has this manifest, if it is whole.
    fn exactly(&self, reference: &Reference, served: &Served) -> Result<Option<Image>> {
        let images = self.cache.find_all(&reference.with_digest(served.digest))?;
        let mut images = images.into_iter();
        let image = images
            .find(|image| image.manifest_digest == served.digest && image.reference == *reference);
        image.map_or(Ok(None), |image| self.whole(image))
    }

    fn whole(&self, image: Image) -> Result<Option<Image>> {
        for layer in &image.layers {
            if self.cache.has_blob(&layer.digest)? != Some(layer.size) {
                return Ok(None);
            }
        }
        Ok(Some(image))
    }
}

/// Whether an image of the cache is what a request for a platform means, rather than what merely runs there for want of a better
/// one: an index may have a better one that was never fetched.
fn fits(wanted: &Platform, image: &Platform) -> bool {
    wanted == image
        || (wanted.variant().is_none()
            && (wanted.os(), wanted.architecture()) == (image.os(), image.architecture()))
}
