//! An image put together: layers that are in the cache, and layers that are fetched.
//!
//! One download is claimed at a time, and finished before the next is claimed: two processes that fetch the same layers in a
//! different order never wait for each other. The last download gets its name together with the image, so that an image of
//! one layer needs no sync of its own for it.

use std::fs::File;
use std::time::SystemTime;

use box_cache::{
    Claim, Digest, Expected, Hold, Image, Layer, NewImage, Partial, Provenance, Verified,
};
use box_transfer::{Blob, Download, Downloaded};

use super::verification::Signature;
use super::{Outcome, Pull};
use crate::error::{Error, Result};
use crate::image::{self, SHELL};
use crate::layer::{LayerTap, StagedLayer};
use crate::remote::Remote;
use crate::resolved::{Descriptor, Resolved};

/// The layers of one image on their way into the cache.
pub(super) struct Assembly<'a> {
    pull: &'a Pull<'a>,
    remote: &'a Remote<'a>,
    resolved: &'a Resolved,
    signature: Option<Signature>,
    ready: Vec<Ready>,
    /// The last download.
    unnamed: Option<Unnamed>,
    /// Bytes received; `None` if nothing had to be fetched.
    received: Option<u64>,
}

/// A download that is whole, and not a blob yet.
struct Unnamed {
    partial: Partial,
    digest: Digest,
    size: u64,
}

impl Unnamed {
    fn expected(&self) -> Expected {
        Expected {
            digest: Some(self.digest),
            size: Some(self.size),
        }
    }
}

/// A layer whose bytes are verified.
struct Ready {
    layer: Layer,
    verified: Verified,
    /// Where it came from.
    url: String,
    /// Its tree, if it was made just now.
    tree: Option<Box<dyn StagedLayer>>,
}

impl<'a> Assembly<'a> {
    pub fn new(
        pull: &'a Pull<'a>,
        remote: &'a Remote<'a>,
        resolved: &'a Resolved,
        signature: Option<Signature>,
    ) -> Self {
        Self {
            pull,
            remote,
            resolved,
            signature,
            ready: Vec::new(),
            unnamed: None,
            received: None,
        }
    }

    /// Fetches the layers that are missing, and lists the image.
    pub fn complete(mut self) -> Result<(Image, Outcome)> {
        loop {
            for descriptor in &self.resolved.layers {
                if self.is_ready(&descriptor.digest) {
                    continue;
                }
                self.name_download()?;
                if let Claim::Partial(partial) = self.pull.claim(descriptor)? {
                    self.download(descriptor, *partial)?;
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
        let hold = self.pull.cache.hold()?;
        for descriptor in &self.resolved.layers {
            let digest = &descriptor.digest;
            if self.unnamed.as_ref().is_some_and(|u| u.digest == *digest) {
                continue;
            }
            match self.pull.cache.has_blob(digest)? {
                Some(_) if self.is_ready(digest) => {}
                Some(size) => {
                    let ready = self.cached(descriptor, size)?;
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

    /// Makes the last download a blob, before the next one is claimed.
    fn name_download(&mut self) -> Result<()> {
        if let Some(unnamed) = self.unnamed.take() {
            let hold = self.pull.cache.hold()?;
            let expected = unnamed.expected();
            unnamed.partial.commit(self.pull.cache, &hold, &expected)?;
        }
        Ok(())
    }

    fn download(&mut self, descriptor: &Descriptor, partial: Partial) -> Result<()> {
        let blob = Blob {
            name: self.pull.reference.to_string(),
            size: descriptor.size,
            sha256: Some(descriptor.digest),
            sha512: descriptor.sha512,
            limit: self.pull.options.max_size,
        };
        let mut tap = LayerTap::start(self.pull.sink, &blob.name)?;
        let download = Download::new(&blob, partial, &mut tap, self.pull.progress);
        let fetcher = &self.remote.mirrors.fetcher;
        let got = download.fetch(fetcher, &descriptor.locations)?;
        let downloaded = got.map_err(|attempts| Error::Unreachable {
            what: descriptor.name.clone(),
            attempts,
        })?;
        let (downloaded, tree) = tap.finish(downloaded)?;
        match self.verified_download(descriptor, &downloaded, tree) {
            Ok(ready) => self.ready.push(ready),
            Err(error) => {
                downloaded.partial.discard()?;
                return Err(error);
            }
        }
        *self.received.get_or_insert(0) += downloaded.received;
        self.unnamed = Some(Unnamed {
            partial: downloaded.partial,
            digest: downloaded.digest,
            size: downloaded.size,
        });
        Ok(())
    }

    fn verified_download(
        &self,
        descriptor: &Descriptor,
        downloaded: &Downloaded,
        tree: Box<dyn StagedLayer>,
    ) -> Result<Ready> {
        let partial = &downloaded.partial;
        let open = || partial.reader().map_err(std::io::Error::other);
        let verified = self.verified(open)?;
        let file = partial.reader()?;
        Ok(Ready {
            layer: image::layer(file, descriptor, downloaded.size, *tree.diff_id())?,
            verified,
            url: downloaded.url.clone(),
            tree: Some(tree),
        })
    }

    /// A layer whose blob is in the cache.
    fn cached(&self, descriptor: &Descriptor, size: u64) -> Result<Ready> {
        let cache = self.pull.cache;
        let digest = &descriptor.digest;
        let path = cache.layout().blob(digest);
        let verified = self.verified(|| File::open(&path))?;
        // Only an image that box made from this very tarball is believed about the tree.
        let images = cache.images()?;
        let twin = images.iter().find(|image| image.is_of(digest));
        let (diff_id, tree) = match twin {
            Some(twin) => (twin.layers[0].diff_id, None),
            None => {
                let tree = self.unpack(digest)?;
                (*tree.diff_id(), Some(tree))
            }
        };
        let url = match twin.map(|twin| twin.provenance.url.clone()) {
            Some(url) if !url.is_empty() => url,
            _ => descriptor
                .locations
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        };
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        Ok(Ready {
            layer: image::layer(file, descriptor, size, diff_id)?,
            verified,
            url,
            tree,
        })
    }

    /// Unpacks a blob of the cache that no image uses, and verifies it at the same time.
    fn unpack(&self, digest: &Digest) -> Result<Box<dyn StagedLayer>> {
        let path = self.pull.cache.layout().blob(digest);
        let what = path.display().to_string();
        let mut blob = self.pull.cache.open_blob(digest)?;
        let mut writer = self.pull.sink.layer().map_err(Error::layer(&what))?;
        std::io::copy(&mut blob, &mut writer).map_err(Error::layer(&what))?;
        blob.finish()?;
        writer.finish().map_err(Error::layer(&what))
    }

    /// Lists the image, after the last download was checked and before it gets its name.
    fn publish(&mut self, hold: &Hold) -> Result<Image> {
        let cache = self.pull.cache;
        let new = match self.new_image() {
            Ok(new) => new,
            Err(error) => {
                if let Some(unnamed) = self.unnamed.take() {
                    unnamed.partial.discard()?;
                }
                return Err(error);
            }
        };
        let whole = match self.unnamed.take() {
            Some(unnamed) => {
                let expected = unnamed.expected();
                Some(unnamed.partial.check(&expected)?)
            }
            None => None,
        };
        let trees = self.ready.iter_mut().filter_map(|r| r.tree.take());
        image::publish(cache, hold, new, whole, trees.collect())
    }

    /// The image to be made, if it is the one demanded.
    fn new_image(&self) -> Result<NewImage> {
        let mut layers = Vec::new();
        let mut verified = self.resolved.proof.digests.clone();
        let mut url = None;
        for descriptor in &self.resolved.layers {
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
            version: Some(self.resolved.version.clone()),
        };
        let reference = self.pull.listed_as(self.resolved);
        let platform = &self.pull.options.platform;
        let command = [SHELL.to_owned()];
        let new = image::image(reference, platform, layers, &command, provenance);
        let manifest = new.manifest_digest();
        match self.pull.demanded()? {
            Some(expected) if expected != manifest && !self.resolved.is_tarball(&expected) => {
                Err(Error::WrongDigest {
                    reference: self.pull.reference.without_digest().to_string(),
                    expected: expected.to_string(),
                    found: found(self.resolved, &manifest),
                })
            }
            _ => Ok(new),
        }
    }

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

#[cfg(test)]
mod tests;
