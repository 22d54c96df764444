//! What mirrors and registries offer, without fetching it.

use std::sync::Arc;

use box_cache::{Cache, Digest, Progress, Reference, Verified};
use box_registry::{Registry, RepositoryName, Wanted};
use box_transfer::{Body, Cause, Fetcher, Open, Resume, Url};

use crate::error::{Error, Result};
use crate::mirror::Mirrors;
use crate::options::PullOptions;
use crate::pins::Pin;
use crate::resolved::Resolved;
use crate::source::{self, Offer, Query};

/// The mirrors, ready to be asked. It keeps a thread alive until it is dropped.
pub struct Remote<'a> {
    options: &'a PullOptions,
    pub(crate) mirrors: Mirrors<'a>,
    pub(crate) registry: Arc<Registry<'a>>,
    /// Fetches from registries.
    blobs: Fetcher<'a>,
    progress: &'a dyn Progress,
}

/// What a pull would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// What the reference stands for.
    pub resolved: Resolved,
    /// The URL that would be tried first.
    pub url: String,
    /// Size of what would be fetched in bytes, if it is known.
    pub size: Option<u64>,
    /// The layers, each once.
    pub layers: Vec<PreviewLayer>,
    /// Whether all layers are in the cache already, so that nothing would be fetched.
    pub cached: bool,
    /// Whether nothing at all would change.
    pub unchanged: bool,
}

/// A layer that a pull would need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewLayer {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// Whether it is in the cache already.
    pub cached: bool,
}

impl<'a> Remote<'a> {
    /// Connects to nothing yet.
    pub fn new(options: &'a PullOptions, progress: &'a dyn Progress) -> Self {
        let fetcher = Fetcher::new(&options.http, &options.retry, progress);
        let registry = Arc::new(Registry::new(&options.registry, progress));
        let opener = Box::new(Blobs(registry.clone()));
        Self {
            options,
            mirrors: Mirrors::new(&options.mirrors, fetcher),
            blobs: Fetcher::with(opener, &options.retry, progress),
            registry,
            progress,
        }
    }

    /// What fetches the layers of an image.
    pub(crate) fn fetcher(&self, resolved: &Resolved) -> &Fetcher<'a> {
        match resolved.served {
            Some(_) => &self.blobs,
            None => &self.mirrors.fetcher,
        }
    }

    /// The digest that a tag has in its registry now, by a request that brings no document. `None` if the registry does not say, or
    /// has no such tag, or if the reference is no tag of a registry.
    pub fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>> {
        let name = RepositoryName::of(reference);
        let (Some(name), Some(tag), None) = (name, reference.tag(), reference.digest()) else {
            return Ok(None);
        };
        let head = self.registry.repository(&name)?.head(Wanted::Tag(tag))?;
        Ok(head.and_then(|found| found.digest().to_string().parse().ok()))
    }

    /// What a reference stands for now, by the lock file, or else by the mirrors.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        match pin(self.options, reference)? {
            Some(pin) => match pin.resolved(&self.mirrors) {
                Some(resolved) => Ok(resolved),
                // The registry has to be asked for the documents, by their digest.
                None => {
                    let pinned = reference.with_digest(pin.manifest);
                    Ok(Resolved {
                        current: reference.digest().is_none(),
                        ..self.newest(&pinned)?
                    })
                }
            },
            None => self.newest(reference),
        }
    }

    /// What a reference stands for now on every platform, ignoring any lock file.
    pub(crate) fn all(&self, reference: &Reference) -> Result<Vec<Resolved>> {
        let mut all = source::of(reference)?.resolve_all(&self.query(reference)?)?;
        if reference.digest().is_some() {
            for resolved in &mut all {
                resolved.proof.digests = Verified::Digest;
            }
        }
        Ok(all)
    }

    /// What a reference stands for now by the mirrors, ignoring any lock file.
    pub fn newest(&self, reference: &Reference) -> Result<Resolved> {
        let source = source::of(reference)?;
        let mut resolved = source.resolve(&self.query(reference)?)?;
        if reference.digest().is_some() {
            resolved.proof.digests = Verified::Digest;
        }
        Ok(resolved)
    }

    /// Everything that is published under a name, oldest first.
    pub fn offers(&self, name: &Reference) -> Result<Vec<Offer>> {
        source::of(name)?.offers(&self.query(name)?)
    }

    /// What a pull would do. Only what is needed to tell is fetched.
    pub fn preview(&self, cache: &Cache, reference: &Reference) -> Result<Preview> {
        let resolved = self.resolve(reference)?;
        let images = cache.find_all(reference)?;
        let same = images.iter().any(|image| {
            let fits = image.reference == *reference || reference.digest().is_some();
            fits && resolved.is_image(image)
        });
        let mut layers: Vec<PreviewLayer> = Vec::new();
        for layer in &resolved.layers {
            if layers.iter().any(|other| other.digest == layer.digest) {
                continue;
            }
            let blob = cache.has_blob(&layer.digest)?;
            let mut size = layer.size.or(blob);
            for location in &layer.locations {
                if size.is_none() {
                    let opened = self.fetcher(&resolved).open(location, None)?;
                    size = opened.ok().and_then(|body| body.size);
                }
            }
            layers.push(PreviewLayer {
                digest: layer.digest,
                size,
                cached: blob.is_some(),
            });
        }
        let cached = layers.iter().all(|layer| layer.cached);
        // Where all of it is there, its size is worth more than a zero.
        let counted = layers.iter().filter(|layer| cached || !layer.cached);
        let size = counted.map(|layer| layer.size).sum();
        let first = resolved.layers.first();
        let first = first.and_then(|layer| layer.locations.first());
        Ok(Preview {
            url: match &resolved.served {
                Some(served) => served.origin.clone(),
                None => first.map(ToString::to_string).unwrap_or_default(),
            },
            size,
            layers,
            cached,
            unchanged: same && cached,
            resolved,
        })
    }

    fn query<'q>(&'q self, reference: &'q Reference) -> Result<Query<'q>> {
        match self.options.offline {
            true => Err(Error::OfflineFetch(format!("releases of {reference}"))),
            false => Ok(Query {
                reference,
                platform: &self.options.platform,
                mirrors: &self.mirrors,
                registry: &self.registry,
                progress: self.progress,
            }),
        }
    }
}

/// Opens blobs of registries.
struct Blobs<'a>(Arc<Registry<'a>>);

impl Open for Blobs<'_> {
    fn open(
        &self,
        url: &Url,
        resume: Option<&Resume>,
    ) -> box_transfer::Result<Result<Body, Cause>> {
        Open::open(self.0.as_ref(), url, resume)
    }
}

/// What the lock file says that a reference stands for.
pub(crate) fn pin<'a>(options: &'a PullOptions, reference: &Reference) -> Result<Option<&'a Pin>> {
    let Some(pins) = &options.pins else {
        return Ok(None);
    };
    match pins.get(reference, &options.platform) {
        Some(pin) => match reference.digest() {
            Some(demanded) if !pin.is(demanded) => Err(Error::WrongDigest {
                reference: reference.without_digest().to_string(),
                expected: demanded.to_string(),
                found: format!("{} has {}", pins.path().display(), pin.manifest),
            }),
            _ => Ok(Some(pin)),
        },
        None if options.locked => Err(Error::NotLocked {
            reference: reference.to_string(),
            platform: options.platform.to_string(),
            path: pins.path().to_owned(),
        }),
        None => Ok(None),
    }
}
