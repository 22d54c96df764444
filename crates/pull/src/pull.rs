//! From a reference to an image in the cache.

mod vouching;

use std::fs::File;
use std::ops::ControlFlow;
use std::time::SystemTime;

use box_cache::{
    Cache, Claim, DiffId, Digest, Event, Expected, Expiry, Image, NewImage, Partial, PartialKey,
    Phase, Progress, Provenance, Reference, TaskId, Verified,
};

use crate::download::{Download, Downloaded, Wanted};
use crate::error::{Error, Result};
use crate::image::{self, Packing, Rootfs, head_of};
use crate::layer::{LayerSink, StagedLayer};
use crate::options::Options;
use crate::remote::{Remote, pin};
use crate::source::Release;
use vouching::Signature;

/// What an image of a root filesystem starts where nobody says otherwise.
pub(crate) const SHELL: &str = "/bin/sh";

/// What came of a pull.
#[derive(Debug)]
pub struct Pulled {
    /// The image as it is in the cache now.
    pub image: Image,
    /// What had to be done for it.
    pub outcome: Outcome,
    /// What the reference stood for; none where nobody was asked.
    pub release: Option<Release>,
}

/// What a pull had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the cache has what the mirrors have.
    Unchanged,
    /// Only to list an image of a file that was there already.
    Cached,
    /// To fetch the file.
    Downloaded {
        /// Bytes that were fetched; less than the file's size where a broken download was continued.
        bytes: u64,
    },
}

/// Brings an image into the cache, or finds that it is there.
///
/// The file goes through the network once: meanwhile it is hashed, kept, and given to `sink`. Nothing becomes visible
/// before size, digests and (by [`Options::verify`]) the signature were found right. A broken download is continued by
/// the next call, in whatever process. When this returns, no thread of it is left.
pub fn pull(
    cache: &Cache,
    reference: &Reference,
    options: &Options,
    sink: &dyn LayerSink,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let pull = Pull {
        cache,
        reference,
        options,
        sink,
        progress,
    };
    if options.offline {
        return pull.offline();
    }
    if let Some(image) = pull.settled()? {
        cache.touch(&image)?;
        return Ok(Pulled {
            image,
            outcome: Outcome::Unchanged,
            release: None,
        });
    }
    let remote = Remote::new(options, progress);
    let release = remote.resolve(reference)?;
    if let Some(image) = pull.unchanged(&release)? {
        let signed = pull.signed_since(&remote, &release, &image)?;
        let outcome = match &signed {
            Some(_) => Outcome::Cached,
            None => Outcome::Unchanged,
        };
        let image = signed.unwrap_or(image);
        cache.touch(&image)?;
        return Ok(Pulled {
            image,
            outcome,
            release: Some(release),
        });
    }
    let (image, outcome) = pull.obtain(&remote, &release)?;
    // Downloads that nobody came back to go in passing.
    if let Err(error) = cache.expire_downloads(&Expiry::default()) {
        tracing::debug!(%error, "broken-off downloads stay until the next collection");
    }
    Ok(Pulled {
        image,
        outcome,
        release: Some(release),
    })
}

struct Pull<'a> {
    cache: &'a Cache,
    reference: &'a Reference,
    options: &'a Options,
    sink: &'a dyn LayerSink,
    progress: &'a dyn Progress,
}

impl Pull<'_> {
    fn offline(&self) -> Result<Pulled> {
        let wanted = match pin(self.options, self.reference)? {
            Some(pin) => self.reference.with_digest(pin.manifest),
            None => self.reference.clone(),
        };
        match self.cache.find(&wanted, &self.options.platform)? {
            Some(image) if !self.is_vouched_for(&image) => {
                Err(Error::Unvouched(self.reference.to_string()))
            }
            Some(image) => Ok(Pulled {
                image,
                outcome: Outcome::Unchanged,
                release: None,
            }),
            None => {
                let platforms = self.cache.platforms(&wanted)?;
                if !platforms.is_empty() {
                    return Err(Error::OtherPlatform {
                        reference: self.reference.to_string(),
                        wanted: self.options.platform.to_string(),
                        platforms: platforms.iter().map(ToString::to_string).collect(),
                    });
                }
                let images = self.cache.images()?;
                let mut cached: Vec<String> = images.iter().map(|i| i.reference.key()).collect();
                cached.dedup();
                Err(Error::Offline {
                    reference: self.reference.to_string(),
                    cached,
                })
            }
        }
    }

    /// The image, where a demanded digest leaves nothing to ask a mirror for.
    fn settled(&self) -> Result<Option<Image>> {
        let Some(demanded) = self.demanded()? else {
            return Ok(None);
        };
        let image = self.cached(&self.reference.with_digest(demanded))?;
        // By a lock file the tag itself is to mean this image, and another may be listed under it.
        let tag = self.reference.without_digest();
        let fits = |i: &Image| self.reference.digest().is_some() || i.reference == tag;
        Ok(image.filter(|image| fits(image) && self.is_vouched_for(image)))
    }

    /// The digest that the image must have, of its manifest or its tarball: by the lock file, or by the reference.
    fn demanded(&self) -> Result<Option<Digest>> {
        Ok(match pin(self.options, self.reference)? {
            Some(pin) => Some(pin.manifest),
            None => self.reference.digest().copied(),
        })
    }

    /// The image, where the cache has just this release of it.
    fn unchanged(&self, release: &Release) -> Result<Option<Image>> {
        let image = self.cached(&self.listed_as(release))?;
        let demanded = self.demanded()?;
        Ok(image.filter(|i| {
            let fits = demanded.is_none_or(|d| d == i.manifest_digest || d == release.sha256);
            fits && i.is_of(&release.sha256) && self.is_vouched_for(i)
        }))
    }

    /// A whole image of the cache; one that is damaged is not there, so that it is fetched again.
    fn cached(&self, reference: &Reference) -> Result<Option<Image>> {
        let image = match self.cache.find_exactly(reference, &self.options.platform) {
            Err(error) if error.is_damage() => {
                self.note(&format!("{error}; it is fetched again"));
                return Ok(None);
            }
            found => found?,
        };
        let Some(image) = image else { return Ok(None) };
        for layer in &image.layers {
            if self.cache.has_blob(&layer.digest)? != Some(layer.size) {
                return Ok(None);
            }
        }
        Ok(Some(image))
    }

    fn is_vouched_for(&self, image: &Image) -> bool {
        self.options
            .verify
            .admits(&image.provenance.verified, &self.options.keyring)
    }

    /// What the image is listed as: an older release that was found by its digest must not stand for the tag.
    fn listed_as(&self, release: &Release) -> Reference {
        match release.current {
            true => self.reference.without_digest(),
            false => self.reference.clone(),
        }
    }

    /// Fetches what is not there, and lists the image.
    fn obtain(&self, remote: &Remote<'_>, release: &Release) -> Result<(Image, Outcome)> {
        let signature = self.signature(remote, release)?;
        let key = PartialKey::Digest(release.sha256);
        loop {
            let claim = self.claim(&key, release)?;
            match claim {
                Claim::Partial(partial) => {
                    return self.download(remote, release, signature.as_ref(), *partial);
                }
                Claim::Present(size) => {
                    if let Some(image) =
                        self.list_present(remote, release, signature.as_ref(), size)?
                    {
                        return Ok((image, Outcome::Cached));
                    }
                }
            }
        }
    }

    /// Takes the turn at the download; while others have it, their progress is shown.
    fn claim(&self, key: &PartialKey, release: &Release) -> Result<Claim> {
        let task = TaskId::next();
        let name = self.reference.to_string();
        let mut waiting = false;
        let claim = self.cache.partial(key, &mut |bytes| {
            if !waiting {
                waiting = true;
                let (phase, total) = (Phase::Download, release.size);
                self.progress.event(Event::Started {
                    task,
                    phase,
                    name: &name,
                    total,
                });
                self.progress.event(Event::Waiting {
                    task,
                    name: "another process",
                });
            }
            self.progress.event(Event::Advanced { task, bytes });
            ControlFlow::Continue(())
        });
        if waiting {
            self.progress.event(Event::Finished { task });
        }
        Ok(claim?)
    }

    fn download(
        &self,
        remote: &Remote<'_>,
        release: &Release,
        signature: Option<&Signature>,
        partial: Partial,
    ) -> Result<(Image, Outcome)> {
        let wanted = Wanted {
            name: self.reference.to_string(),
            size: release.size,
            sha256: Some(release.sha256),
            sha512: release.sha512,
            limit: self.options.max_size,
        };
        let download = Download::new(&wanted, partial, self.sink, self.progress)?;
        let locations = remote.fetcher.locations(&release.path);
        let got = download.fetch(&remote.fetcher, &locations)?;
        let Downloaded {
            partial,
            layer,
            url,
            received,
            size,
            digest,
        } = got.map_err(|tried| Error::Unreachable {
            what: release.path.clone(),
            tried,
        })?;
        let open = || partial.reader().map_err(std::io::Error::other);
        let new = self.verified(signature, open).and_then(|verified| {
            let rootfs = rootfs(partial.reader()?, digest, size, *layer.diff_id())?;
            self.new_image(release, rootfs, verified, url)
        });
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                partial.discard()?;
                return Err(error);
            }
        };
        let expected = Expected {
            digest: Some(digest),
            size: Some(size),
        };
        let whole = partial.check(&expected)?;
        let hold = self.cache.hold()?;
        let image = image::publish(self.cache, &hold, new, Some(whole), Some(layer))?;
        Ok((image, Outcome::Downloaded { bytes: received }))
    }

    /// Lists the image of a file that is in the cache; `None` where it was collected meanwhile.
    fn list_present(
        &self,
        remote: &Remote<'_>,
        release: &Release,
        signature: Option<&Signature>,
        size: u64,
    ) -> Result<Option<Image>> {
        let hold = self.cache.hold()?;
        let digest = release.sha256;
        if self.cache.has_blob(&digest)? != Some(size) {
            return Ok(None);
        }
        let path = self.cache.layout().blob(&digest);
        let verified = self.verified(signature, || File::open(&path))?;
        let images = self.cache.images()?;
        let twin = images.iter().find(|image| image.is_of(&digest));
        let url = match twin
            .map(|twin| &twin.provenance.url)
            .filter(|url| !url.is_empty())
        {
            Some(url) => url.clone(),
            None => remote
                .fetcher
                .locations(&release.path)
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        };
        let (diff_id, layer) = match twin {
            Some(twin) => (twin.layers[0].diff_id, None),
            None => {
                let layer = self.unpack_present(&digest)?;
                (*layer.diff_id(), Some(layer))
            }
        };
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let new = self.new_image(release, rootfs(file, digest, size, diff_id)?, verified, url)?;
        image::publish(self.cache, &hold, new, None, layer).map(Some)
    }

    /// Makes a layer of a file that is in the cache and that no image uses, verifying it on the way.
    fn unpack_present(&self, digest: &Digest) -> Result<Box<dyn StagedLayer>> {
        let path = self.cache.layout().blob(digest);
        let what = path.display().to_string();
        let failed = |source| Error::Layer {
            what: what.clone(),
            source,
        };
        let mut blob = self.cache.open_blob(digest)?;
        let mut writer = self.sink.layer().map_err(|e| failed(e.into()))?;
        std::io::copy(&mut blob, &mut writer).map_err(|e| failed(e.into()))?;
        blob.finish()?;
        writer.finish().map_err(failed)
    }

    /// The image to be made, if it is the one demanded.
    fn new_image(
        &self,
        release: &Release,
        layer: Rootfs,
        verified: Verified,
        url: String,
    ) -> Result<NewImage> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let provenance = Provenance {
            url,
            fetched: now.map_or(0, |since| since.as_secs()),
            verified,
            version: Some(release.version.clone()),
        };
        let command = [SHELL.to_owned()];
        let reference = self.listed_as(release);
        let new = image::image(
            reference.clone(),
            &self.options.platform,
            layer,
            &command,
            provenance,
        );
        let demanded = self.demanded()?;
        let manifest = new.manifest_digest();
        match demanded {
            Some(expected) if expected != manifest && expected != layer.digest => {
                Err(Error::WrongDigest {
                    reference: self.reference.without_digest().to_string(),
                    expected: expected.to_string(),
                    found: found(release, &manifest, &layer.digest),
                })
            }
            _ => Ok(new),
        }
    }

    fn note(&self, text: &str) {
        self.progress.event(Event::Note { text });
    }
}

/// What there is in the place of an image that was demanded by a digest, and where that was looked for.
fn found(release: &Release, manifest: &Digest, tarball: &Digest) -> String {
    let version = &release.version;
    let mut text = format!("{version} has the manifest {manifest} and the tarball {tarball}");
    if !release.searched.is_empty() {
        text.push_str(", and no tarball listed in ");
        text.push_str(&release.searched.join(", "));
        text.push_str(" has that digest");
    }
    text
}

/// What a file is as a layer.
fn rootfs(file: File, digest: Digest, size: u64, diff_id: DiffId) -> Result<Rootfs> {
    match Packing::detect(&head_of(file)?) {
        Packing::Layer(media_type) => Ok(Rootfs {
            digest,
            size,
            media_type,
            diff_id,
        }),
        Packing::Other => Err(Error::Layer {
            what: digest.to_string(),
            source: "it is packed as no OCI layer may be: import it instead".into(),
        }),
    }
}
