//! An image put together: layers that are in the cache, and layers that are fetched.
//!
//! Other processes may fetch the same layers, in another order. No deadlock is possible, because nobody waits for a claim while
//! holding another:
//!
//! 1. Every layer that no other process is fetching is claimed without waiting, and fetched by several threads at a time (see
//!    [`parallel`]). As none of them waits, all claims may be held together, until the last layer is whole.
//! 2. The others are claimed one at a time. Before each wait all finished downloads become blobs, which gives up their claims.
//!
//! Downloads that nobody had to wait for get their names together with the image: one wait for the disk serves all of them.

mod fetched;
mod parallel;

use std::sync::OnceLock;
use std::time::SystemTime;

use box_cache::{Claim, Digest, Hold, Image, NewImage, Provenance, ServedImage, Verified, Whole};

use super::verification::Signature;
use super::{Outcome, Pull};
use crate::error::{Error, Result};
use crate::image::{self, Documents, SHELL};
use crate::remote::Remote;
use crate::resolved::{Descriptor, Resolved};
use fetched::{Fetched, Ready, Unnamed};

/// How many layers may be ready without a name. Each has files open.
const OPEN: usize = 64;

/// An image on its way into the cache.
pub(super) struct Assembly<'a> {
    layers: Layers<'a>,
    ready: Vec<Ready>,
    /// Finished downloads that are not blobs yet.
    unnamed: Vec<Unnamed>,
    /// Bytes received; `None` if nothing had to be fetched.
    received: Option<u64>,
}

/// The layers of one image, to be made ready by several threads.
struct Layers<'a> {
    pull: &'a Pull<'a>,
    remote: &'a Remote<'a>,
    resolved: &'a Resolved,
    signature: Option<Signature>,
    /// The images of the cache whose layers box compared with their configs, once they were asked for.
    verified_images: OnceLock<Vec<Image>>,
}

impl<'a> Assembly<'a> {
    pub fn new(
        pull: &'a Pull<'a>,
        remote: &'a Remote<'a>,
        resolved: &'a Resolved,
        signature: Option<Signature>,
    ) -> Self {
        Self {
            layers: Layers {
                pull,
                remote,
                resolved,
                signature,
                verified_images: OnceLock::new(),
            },
            ready: Vec::new(),
            unnamed: Vec::new(),
            received: None,
        }
    }

    /// Fetches the layers that are missing, and lists the image.
    pub fn complete(mut self) -> Result<(Image, Outcome)> {
        let resolved = self.layers.resolved;
        for some in distinct(&resolved.layers).chunks(OPEN) {
            if !self.ready.is_empty() {
                self.settle()?;
            }
            for fetched in self.layers.fetch_unclaimed(some)? {
                self.take(fetched);
            }
        }
        loop {
            for (number, descriptor) in self.layers.resolved.layers.iter().enumerate() {
                if self.is_ready(&descriptor.digest) {
                    continue;
                }
                self.name_downloads()?;
                if let Claim::Partial(partial) = self.layers.pull.claim(descriptor)? {
                    let never = parallel::Stop::default();
                    let fetched = self.layers.download(number, descriptor, *partial, &never)?;
                    self.take(fetched);
                }
            }
            if let Some(image) = self.list()? {
                let outcome = match self.received {
                    Some(bytes) => Outcome::Downloaded { bytes },
                    None => Outcome::Cached,
                };
                return Ok((image, outcome));
            }
        }
    }

    /// Lists the image, if all layers are in the cache or just downloaded. `None` if one was collected meanwhile.
    pub fn list(&mut self) -> Result<Option<Image>> {
        let hold = self.layers.pull.cache.hold()?;
        for descriptor in &self.layers.resolved.layers {
            let digest = &descriptor.digest;
            if self.unnamed.iter().any(|u| u.digest == *digest) {
                continue;
            }
            match self.layers.pull.cache.has_blob(digest)? {
                Some(_) if self.is_ready(digest) => {}
                Some(size) => {
                    let ready = self.layers.cached(descriptor, size)?;
                    self.ready.push(ready);
                }
                None => {
                    self.ready.retain(|ready| ready.layer.digest != *digest);
                    return Ok(None);
                }
            }
        }
        self.publish(&hold).map(Some)
    }

    fn is_ready(&self, digest: &Digest) -> bool {
        self.ready.iter().any(|r| r.layer.digest == *digest)
    }

    fn take(&mut self, fetched: Fetched) {
        self.ready.push(fetched.ready);
        if let Some((unnamed, received)) = fetched.download {
            self.unnamed.push(unnamed);
            *self.received.get_or_insert(0) += received;
        }
    }

    /// Gives all finished downloads and trees their names, which closes their files.
    fn settle(&mut self) -> Result<()> {
        self.name_downloads()?;
        let what = self.layers.pull.reference.to_string();
        for ready in &mut self.ready {
            if let Some(mut tree) = ready.tree.take() {
                tree.sync().map_err(Error::layer(&what))?;
                tree.publish().map_err(Error::layer(&what))?;
            }
        }
        Ok(())
    }

    /// Makes the finished downloads blobs, before a claim is waited for.
    fn name_downloads(&mut self) -> Result<()> {
        let wholes = self.wholes()?;
        if !wholes.is_empty() {
            let hold = self.layers.pull.cache.hold()?;
            self.layers.pull.cache.keep(&hold, wholes)?;
        }
        Ok(())
    }

    fn wholes(&mut self) -> Result<Vec<Whole>> {
        let unnamed = std::mem::take(&mut self.unnamed).into_iter();
        unnamed.map(Unnamed::check).collect()
    }

    /// Lists the image, after the downloads were checked and before they get their names.
    fn publish(&mut self, hold: &Hold) -> Result<Image> {
        let cache = self.layers.pull.cache;
        let new = match self.new_image() {
            Ok(new) => new,
            Err(error) => {
                for unnamed in self.unnamed.drain(..) {
                    unnamed.partial.discard()?;
                }
                return Err(error);
            }
        };
        let wholes = self.wholes()?;
        let trees = self.ready.iter_mut().filter_map(|r| r.tree.take());
        image::publish(cache, hold, new, wholes, trees.collect())
    }

    /// The image to be made, if it is the one demanded.
    fn new_image(&self) -> Result<Documents> {
        let mut layers = Vec::new();
        let mut verified = self.layers.resolved.proof.digests.clone();
        let mut url = None;
        for descriptor in &self.layers.resolved.layers {
            let ready = self.ready.iter();
            for ready in ready.filter(|r| r.layer.digest == descriptor.digest) {
                layers.push(ready.layer.clone());
                verified = ready.verified.clone();
                url.get_or_insert_with(|| ready.url.clone());
            }
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let provenance = Provenance {
            url: url.unwrap_or_default(),
            fetched: now.map_or(0, |since| since.as_secs()),
            verified,
            version: Some(self.layers.resolved.version.clone()),
            served: None,
        };
        match &self.layers.resolved.served {
            Some(_) => self
                .served_image(provenance)
                .map(|image| Documents::Served(Box::new(image))),
            None => self
                .made_image(layers, provenance)
                .map(|image| Documents::Made(Box::new(image))),
        }
    }

    fn made_image(
        &self,
        layers: Vec<box_cache::Layer>,
        provenance: Provenance,
    ) -> Result<NewImage> {
        let reference = self.layers.pull.listed_as(self.layers.resolved);
        let platform = &self.layers.pull.options.platform;
        let command = [SHELL.to_owned()];
        let new = image::image(reference, platform, layers, &command, provenance);
        let manifest = new.manifest_digest();
        match self.layers.pull.demanded()? {
            Some(expected)
                if expected != manifest && !self.layers.resolved.is_tarball(&expected) =>
            {
                Err(self.wrong_digest(&expected, found(self.layers.resolved, &manifest)))
            }
            _ => Ok(new),
        }
    }

    fn served_image(&self, provenance: Provenance) -> Result<ServedImage> {
        let served = self.layers.resolved.served.as_ref();
        let served = served.expect("the caller has looked");
        match self.layers.pull.demanded()? {
            Some(expected) if !served.is(&expected) => {
                let found = format!("the registry has the manifest {}", served.digest);
                return Err(self.wrong_digest(&expected, found));
            }
            _ => {}
        }
        Ok(ServedImage {
            reference: self.layers.pull.listed_as(self.layers.resolved),
            described: served.described.clone(),
            media_type: served.media_type.clone(),
            manifest: served.manifest.clone(),
            config: served.config.clone(),
            indexes: served.indexes.iter().map(|index| index.to_vec()).collect(),
            provenance: Provenance {
                url: served.origin.clone(),
                version: served.version.clone(),
                ..provenance
            },
        })
    }

    fn wrong_digest(&self, expected: &Digest, found: String) -> Error {
        Error::WrongDigest {
            reference: self.layers.pull.reference.without_digest().to_string(),
            expected: expected.to_string(),
            found,
        }
    }
}

impl Layers<'_> {
    /// What vouches for the bytes of a layer.
    fn verified<R: std::io::Read>(
        &self,
        open: impl Fn() -> std::io::Result<R>,
    ) -> Result<Verified> {
        match &self.signature {
            Some(signature) => signature.verify(&self.pull.options.keyring, open),
            None => Ok(self.resolved.proof.digests.clone()),
        }
    }

    /// The images of the cache whose layers box compared with their configs. Only these are believed about the content of a layer.
    fn verified_images(&self) -> Result<&[Image]> {
        if let Some(images) = self.verified_images.get() {
            return Ok(images);
        }
        let mut images = self.pull.cache.images()?;
        images.retain(|image| image.provenance.verified != Verified::Unverified);
        Ok(self.verified_images.get_or_init(|| images))
    }

    /// The name of a layer for people: an image of one is named itself.
    fn name(&self, number: usize) -> String {
        let reference = self.pull.reference;
        match self.resolved.layers.len() {
            0 | 1 => reference.to_string(),
            count => format!("{reference} layer {} of {count}", number + 1),
        }
    }
}

/// Describes what was found instead of the digest demanded, and where it was searched for.
fn found(resolved: &Resolved, manifest: &Digest) -> String {
    let version = &resolved.version;
    let mut text = format!("{version} has the manifest {manifest}");
    if let Some(tarball) = resolved.tarball() {
        text.push_str(&format!(" and the tarball {}", tarball.digest));
    }
    if !resolved.searched.is_empty() {
        let searched = resolved.searched.join(", ");
        text.push_str(&format!(
            ", and no tarball listed in {searched} has that digest"
        ));
    }
    text
}

/// The descriptors of distinct layers, with their numbers: a layer that an image has twice is fetched once.
fn distinct(layers: &[Descriptor]) -> Vec<(usize, &Descriptor)> {
    let mut distinct: Vec<(usize, &Descriptor)> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        if distinct
            .iter()
            .all(|(_, other)| other.digest != layer.digest)
        {
            distinct.push((number, layer));
        }
    }
    distinct
}

#[cfg(test)]
mod tests;
