//! One layer, made ready: downloaded, or found in the cache.

use std::fs::File;

use box_cache::{Digest, Expected, Layer, Partial, Verified, Whole};
use box_transfer::{Blob, Download, Downloaded};

use super::Layers;
use super::parallel::Stop;
use crate::error::{Error, Result};
use crate::image;
use crate::layer::{LayerTap, StagedLayer};
use crate::resolved::Descriptor;

/// A layer whose bytes are verified.
pub(super) struct Ready {
    pub layer: Layer,
    pub verified: Verified,
    /// Where it came from.
    pub url: String,
    /// Its tree, if it was made just now.
    pub tree: Option<Box<dyn StagedLayer>>,
}

/// A download that is whole, and not a blob yet.
pub(super) struct Unnamed {
    pub partial: Partial,
    pub digest: Digest,
    size: u64,
}

/// A layer that is ready, with its download and the bytes received for it if there was one.
pub(super) struct Fetched {
    pub ready: Ready,
    pub download: Option<(Unnamed, u64)>,
}

impl Unnamed {
    pub fn check(self) -> Result<Whole> {
        let expected = Expected {
            digest: Some(self.digest),
            size: Some(self.size),
        };
        Ok(self.partial.check(&expected)?)
    }
}

impl Layers<'_> {
    /// Downloads a layer. If it turns out not to be the one that the image needs, nothing of it is kept.
    pub(super) fn download(
        &self,
        number: usize,
        descriptor: &Descriptor,
        partial: Partial,
        stop: &Stop,
    ) -> Result<Fetched> {
        let blob = Blob {
            name: self.name(number),
            size: descriptor.size,
            sha256: Some(descriptor.digest),
            sha512: descriptor.sha512,
            limit: self.pull.options.max_size,
        };
        let tap = LayerTap::start(self.pull.sink, &blob.name, descriptor.diff_id)?;
        let mut tap = tap.until(stop.flag());
        let download = Download::new(&blob, partial, &mut tap, self.pull.progress);
        let fetcher = self.remote.fetcher(self.resolved);
        let got = download.fetch(fetcher, &descriptor.locations)?;
        let downloaded = got.map_err(|attempts| Error::Unreachable {
            what: descriptor.name.clone(),
            attempts,
        })?;
        let (downloaded, tree) = tap.finish(downloaded)?;
        let ready = match self.verified_download(descriptor, &downloaded, tree) {
            Ok(ready) => ready,
            Err(error) => {
                downloaded.partial.discard()?;
                return Err(error);
            }
        };
        let unnamed = Unnamed {
            partial: downloaded.partial,
            digest: downloaded.digest,
            size: downloaded.size,
        };
        Ok(Fetched {
            ready,
            download: Some((unnamed, downloaded.received)),
        })
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
        self.compare(descriptor, tree.diff_id())?;
        let file = partial.reader()?;
        Ok(Ready {
            layer: image::layer(file, descriptor, downloaded.size, *tree.diff_id())?,
            verified,
            url: downloaded.url.clone(),
            tree: Some(tree),
        })
    }

    /// A layer whose blob is in the cache. The caller has a [`box_cache::Hold`].
    pub(super) fn cached(&self, descriptor: &Descriptor, size: u64) -> Result<Ready> {
        let cache = self.pull.cache;
        let digest = &descriptor.digest;
        let path = cache.layout().blob(digest);
        let verified = self.verified(|| File::open(&path))?;
        let images = self.verified_images()?.iter();
        let mut known = images.filter_map(|image| {
            let layer = image.layers.iter().find(|layer| layer.digest == *digest)?;
            Some((layer.diff_id, image.provenance.url.clone()))
        });
        let twin = known.next();
        let (diff_id, tree) = match &twin {
            Some((diff_id, _)) => (*diff_id, None),
            None => {
                let tree = self.unpack(descriptor)?;
                (*tree.diff_id(), Some(tree))
            }
        };
        self.compare(descriptor, &diff_id)?;
        let url = match twin {
            Some((_, url)) if !url.is_empty() => url,
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
    fn unpack(&self, descriptor: &Descriptor) -> Result<Box<dyn StagedLayer>> {
        let digest = &descriptor.digest;
        let path = self.pull.cache.layout().blob(digest);
        let what = path.display().to_string();
        let mut blob = self.pull.cache.open_blob(digest)?;
        let writer = self.pull.sink.layer(descriptor.diff_id.as_ref());
        let mut writer = writer.map_err(Error::layer(&what))?;
        std::io::copy(&mut blob, &mut writer).map_err(Error::layer(&what))?;
        blob.finish()?;
        writer.finish().map_err(Error::layer(&what))
    }

    /// Compares the content of a layer with what the config names.
    fn compare(&self, descriptor: &Descriptor, actual: &box_cache::DiffId) -> Result<()> {
        match &descriptor.diff_id {
            Some(expected) if expected != actual => Err(Error::WrongContent {
                reference: self.pull.reference.to_string(),
                layer: descriptor.digest.to_string(),
                expected: expected.to_string(),
                actual: actual.to_string(),
            }),
            _ => Ok(()),
        }
    }
}
