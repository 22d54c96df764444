//! From a reference to an image in the cache.

mod assembly;
mod cached;
mod verification;

use std::ops::ControlFlow;

use box_cache::{
    Cache, Claim, Digest, Event, Expiry, Image, PartialKey, Phase, Progress, Reference, TaskId,
    Verified,
};

use crate::error::{Error, Result};
use crate::layer::LayerSink;
use crate::options::PullOptions;
use crate::remote::{Remote, pin};
use crate::resolved::{Descriptor, Resolved};
use crate::signature::VerifyPolicy;
use crate::trust::Refusal;
use assembly::Assembly;

/// The result of a pull.
#[derive(Debug)]
pub struct Pulled {
    /// The image as it is in the cache now.
    pub image: Image,
    /// What had to be done for it.
    pub outcome: Outcome,
    /// What the reference stood for; `None` if no source was asked.
    pub resolved: Option<Resolved>,
}

/// What a pull had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the cache has what the mirrors have.
    Unchanged,
    /// List an image whose layers were in the cache already.
    Cached,
    /// Fetch at least one layer.
    Downloaded {
        /// Bytes received; fewer than the layers have if a partial download was continued.
        bytes: u64,
    },
}

/// Brings an image into the cache, or finds it there.
///
/// Each layer passes over the network once: it is hashed, kept, and given to `sink` at the same time. Nothing becomes
/// visible before size, digests and (by [`PullOptions::verify`]) the signature are verified. A partial download is continued by
/// the next call, in any process. All threads of the pull have ended when this returns.
pub fn pull(
    cache: &Cache,
    reference: &Reference,
    options: &PullOptions,
    sink: &dyn LayerSink,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let options = &permitted(reference, options)?;
    let pull = Pull {
        cache,
        reference,
        options,
        sink,
        progress,
    };
    let unchanged = |image| Pulled {
        image,
        outcome: Outcome::Unchanged,
        resolved: None,
    };
    if options.offline {
        return pull.offline().map(unchanged);
    }
    if let Some(image) = pull.settled()? {
        cache.touch(&image)?;
        return Ok(unchanged(image));
    }
    let remote = Remote::new(options, progress);
    if let Some(image) = pull.confirmed(&remote)? {
        cache.touch(&image)?;
        return Ok(unchanged(image));
    }
    let resolved = remote.resolve(reference)?;
    pull.bring(&remote, resolved)
}

/// Brings the images of a reference for all platforms into the cache. `others` takes the layers of images for other machines.
///
/// # Errors
/// The first image that cannot be fetched ends the pull; those before it stay in the cache.
pub fn pull_all(
    cache: &Cache,
    reference: &Reference,
    options: &PullOptions,
    (sink, others): (&dyn LayerSink, &dyn LayerSink),
    progress: &dyn Progress,
) -> Result<Vec<Pulled>> {
    let options = &permitted(reference, options)?;
    let pull = |sink| Pull {
        cache,
        reference,
        options,
        sink,
        progress,
    };
    if options.offline {
        return Err(Error::OfflineFetch(format!("all platforms of {reference}")));
    }
    let remote = Remote::new(options, progress);
    let mut all = Vec::new();
    for resolved in remote.all(reference)? {
        let served = resolved.served.as_ref();
        let runs = served.is_none_or(|s| options.platform.accepts(&s.platform).is_some());
        all.push(pull(if runs { sink } else { others }).bring(&remote, resolved)?);
    }
    Ok(all)
}

/// The options as the policy for a name demands.
///
/// # Errors
/// [`Error::Refused`] if the policy refuses all images of the name.
fn permitted(reference: &Reference, options: &PullOptions) -> Result<PullOptions> {
    let refused = |refusal| Error::Refused {
        reference: reference.to_string(),
        refusal,
    };
    options.policy.permits(reference).map_err(refused)?;
    Ok(PullOptions {
        verify: options.policy.verify(reference, options.verify),
        ..options.clone()
    })
}

struct Pull<'a> {
    cache: &'a Cache,
    reference: &'a Reference,
    options: &'a PullOptions,
    sink: &'a dyn LayerSink,
    progress: &'a dyn Progress,
}

impl Pull<'_> {
    /// Fetches what is missing of an image, unless the cache has just this one.
    fn bring(&self, remote: &Remote<'_>, mut resolved: Resolved) -> Result<Pulled> {
        let cache = self.cache;
        let (image, outcome) = match self.unchanged(&resolved)? {
            Some(image) => {
                let (image, outcome) = match self.signed_since(remote, &resolved, &image)? {
                    Some(signed) => (signed, Outcome::Cached),
                    None => (image, Outcome::Unchanged),
                };
                cache.touch(&image)?;
                (image, outcome)
            }
            None => {
                self.vouch(remote, &mut resolved)?;
                let obtained = self.obtain(remote, &resolved)?;
                // Abandoned downloads are cleaned up in passing.
                if let Err(error) = cache.expire_downloads(&Expiry::default()) {
                    tracing::debug!(%error, "abandoned downloads stay until the next collection");
                }
                obtained
            }
        };
        Ok(Pulled {
            image,
            outcome,
            resolved: Some(resolved),
        })
    }

    /// The image in the cache, as nothing may be fetched.
    fn offline(&self) -> Result<Image> {
        let wanted = match pin(self.options, self.reference)? {
            Some(pin) => self.reference.with_digest(pin.manifest),
            None => self.reference.clone(),
        };
        match self.cache.find(&wanted, &self.options.platform)? {
            Some(image) => match self.judge(&image) {
                Ok(()) => Ok(image),
                Err(Refusal::NoPublisher) => Err(Error::Untrusted(self.reference.to_string())),
                Err(refusal) => Err(Error::Refused {
                    reference: self.reference.to_string(),
                    refusal,
                }),
            },
            None => Err(self.absent(&wanted)?),
        }
    }

    /// The error that says what the cache has instead of `wanted`.
    fn absent(&self, wanted: &Reference) -> Result<Error> {
        let reference = self.reference.to_string();
        let platforms = self.cache.platforms(wanted)?;
        if !platforms.is_empty() {
            return Ok(Error::OtherPlatform {
                reference,
                wanted: self.options.platform.to_string(),
                platforms: platforms.iter().map(ToString::to_string).collect(),
            });
        }
        let images = self.cache.images()?;
        let mut cached: Vec<String> = images.iter().map(|i| i.reference.key()).collect();
        cached.dedup();
        Ok(Error::Offline { reference, cached })
    }

    /// The digest that the image must have, of its manifest or its tarball: by the lock file, or by the reference.
    fn demanded(&self) -> Result<Option<Digest>> {
        Ok(match pin(self.options, self.reference)? {
            Some(pin) => Some(pin.manifest),
            None => self.reference.digest().copied(),
        })
    }

    /// Whether the policy admits an image of the cache.
    fn is_trusted(&self, image: &Image) -> bool {
        self.judge(image).is_ok()
    }

    fn judge(&self, image: &Image) -> Result<(), Refusal> {
        let PullOptions {
            policy,
            verify,
            keyring,
            ..
        } = self.options;
        policy.judge(*verify, keyring, self.cache, image)
    }

    /// The reference that the image is listed under: an older release that was found by its digest must not stand for the
    /// tag.
    fn listed_as(&self, resolved: &Resolved) -> Reference {
        match resolved.current {
            true => self.reference.without_digest(),
            false => self.reference.clone(),
        }
    }

    /// Fetches what is missing, and lists the image.
    fn obtain(&self, remote: &Remote<'_>, resolved: &Resolved) -> Result<(Image, Outcome)> {
        let signature = self.signature(remote, resolved)?;
        Assembly::new(self, remote, resolved, signature).complete()
    }

    /// The image listed again with the signature that its publisher added after it was fetched; `None` if there is nothing
    /// new. Publishers sign hours after the release, and an image that was fetched meanwhile need not be fetched again.
    fn signed_since(
        &self,
        remote: &Remote<'_>,
        resolved: &Resolved,
        image: &Image,
    ) -> Result<Option<Image>> {
        let signed = matches!(image.provenance.verified, Verified::Signature { .. });
        let sidecar = resolved.proof.signature.as_ref();
        let sidecar = sidecar.filter(|_| !signed && self.options.verify != VerifyPolicy::Off);
        let Some(sidecar) = sidecar else {
            return Ok(None);
        };
        match verification::served(remote, sidecar)? {
            Ok(signature) => Assembly::new(self, remote, resolved, Some(signature)).list(),
            // It was accepted without one, and nothing has become worse.
            Err(attempts) => {
                tracing::debug!(?attempts, "no signature (yet)");
                Ok(None)
            }
        }
    }

    /// Claims a download. While another process holds it, its progress is shown.
    fn claim(&self, descriptor: &Descriptor) -> Result<Claim> {
        let task = TaskId::next();
        let name = self.reference.to_string();
        let mut waiting = false;
        let key = PartialKey::Digest(descriptor.digest);
        let claim = self.cache.partial(&key, &mut |bytes| {
            if !waiting {
                waiting = true;
                let (phase, total) = (Phase::Download, descriptor.size);
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
            let complete = matches!(claim, Ok(Claim::Present(_)));
            self.progress.event(Event::Finished { task, complete });
        }
        Ok(claim?)
    }

    /// Claims a download, if no other process holds it.
    fn try_claim(&self, descriptor: &Descriptor) -> Result<Option<Claim>> {
        let key = PartialKey::Digest(descriptor.digest);
        match self.cache.partial(&key, &mut |_| ControlFlow::Break(())) {
            Err(box_cache::Error::Locked { .. }) => Ok(None),
            claim => Ok(Some(claim?)),
        }
    }

    fn note(&self, text: &str) {
        self.progress.event(Event::Note { text });
    }
}
