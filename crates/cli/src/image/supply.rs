//! Images made ready for use: found in the cache or fetched into it, with their layers unpacked.

use box_cache::{Cache, Event, Hold, Image, Platform, Progress, Reference};
use box_pull::{Outcome, PullOptions};
use box_unpack::Layers;
use clap::ValueEnum;

use crate::bars::Bars;
use crate::image::fetch::FetchArgs;
use crate::image::layers;
use crate::image::trust;
use crate::options;
use crate::report::{Failure, warn};
use crate::settings::Settings;

/// When to ask a mirror for an image that may be in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PullPolicy {
    /// Ask if the image is not in the cache.
    #[default]
    Missing,
    /// Ask every time, and fail if no mirror can be reached.
    Always,
    /// Ask every time, and use the cached image if no mirror can be reached.
    Newer,
    /// Do not ask.
    Never,
}

/// An image in the cache and its layer trees.
pub struct Supplied {
    /// The image.
    pub image: Image,
    /// Its layers, unpacked.
    pub layers: Layers,
    /// Protects image and layers from garbage collection while it lives.
    pub hold: Hold,
}

/// A request for an image.
pub struct ImageRequest<'a> {
    /// The image.
    pub reference: &'a Reference,
    /// The machine that it is for.
    pub platform: &'a Platform,
    /// When to ask a mirror.
    pub policy: PullPolicy,
    /// How to fetch it.
    pub fetch: &'a FetchArgs,
}

impl ImageRequest<'_> {
    /// Finds the image, or fetches it by the policy, and unpacks the layers that are missing. If the image is there, nothing
    /// is set up that takes time.
    pub fn ready(&self, settings: &Settings) -> Result<Supplied, Failure> {
        self.supply(settings, |cache, image| {
            layers::trees(settings, cache, image, || Bars::new(settings))
        })
    }

    /// Like [`ImageRequest::ready`], without unpacking layers.
    pub fn image(&self, settings: &Settings) -> Result<Supplied, Failure> {
        self.supply(settings, |_, _| Ok(Layers::default()))
    }

    fn supply(
        &self,
        settings: &Settings,
        trees: impl Fn(&Cache, &Image) -> Trees,
    ) -> Result<Supplied, Failure> {
        trust::permit(settings, self.reference)?;
        let cache = Cache::open_existing(&settings.dirs.cache);
        let reference = self.fetch.pinned(self.reference, self.platform)?;
        if reference != *self.reference {
            cache.note_lock_file(&self.fetch.lock_file())?;
        }
        let cached = || self.cached(settings, &cache, &reference, &trees);
        let mut refused = None;
        if matches!(self.policy, PullPolicy::Missing | PullPolicy::Never) || settings.offline {
            match cached() {
                Ok(Some(supplied)) => return Ok(supplied),
                Ok(None) if self.policy == PullPolicy::Never => return Err(self.absent(&cache)),
                Ok(None) if self.is_for_others(settings, &cache) => return Err(self.absent(&cache)),
                Ok(None) => {}
                // The publisher may have signed it by now.
                Err(Lack::Untrusted(failure))
                    if self.policy == PullPolicy::Missing
                        && !settings.offline
                        && !is_local(&cache, &reference) =>
                {
                    refused = Some(failure);
                }
                // A damaged image is fetched again, if that is allowed.
                Err(Lack::Damaged(failure))
                    if self.policy == PullPolicy::Missing && !settings.offline =>
                {
                    warn(failure.message());
                }
                Err(lack) => return Err(lack.into()),
            }
        }
        let options = self
            .fetch
            .options(settings, self.platform, self.reference)?;
        match fetch(settings, self.reference, &options) {
            Ok(_) => {}
            Err(error) if self.policy == PullPolicy::Newer && error.is_unreachable() => {
                warn(Failure::from_error(&error).message());
            }
            Err(error) => match refused {
                None => return Err(error.into()),
                Some(refused) => {
                    let why = Failure::from_error(&error);
                    let both = format!(
                        "{}; fetching it failed, too: {}",
                        refused.message(),
                        why.message()
                    );
                    return Err(Failure::new(both).hint("use it as it is: --verify prefer"));
                }
            },
        }
        cached()?.ok_or_else(|| self.absent(&cache))
    }

    fn cached(
        &self,
        settings: &Settings,
        cache: &Cache,
        reference: &Reference,
        trees: impl Fn(&Cache, &Image) -> Trees,
    ) -> Result<Option<Supplied>, Lack> {
        let lack = |error: box_cache::Error| match error.is_damage() {
            true => Lack::Damaged(error.into()),
            false => Lack::Other(error.into()),
        };
        let hold = cache.hold().map_err(lack)?;
        let Some(image) = cache.find(reference, self.platform).map_err(lack)? else {
            return Ok(None);
        };
        let policy = self.fetch.policy(settings).map_err(Lack::Other)?;
        trust::judge(settings, policy, &image).map_err(Lack::Untrusted)?;
        cache.touch(&image).map_err(lack)?;
        let layers = trees(cache, &image).map_err(|error| match error {
            layers::Error::Cache(error) => lack(error),
            layers::Error::Unpack(error) => Lack::Other(error.into()),
        })?;
        Ok(Some(Supplied {
            image,
            layers,
            hold,
        }))
    }

    /// Whether the cache has the image for other platforms, and no source can be asked for this one.
    fn is_for_others(&self, settings: &Settings, cache: &Cache) -> bool {
        (settings.offline || is_local(cache, self.reference))
            && cache
                .platforms(self.reference)
                .is_ok_and(|platforms| !platforms.is_empty())
    }

    /// The failure that names what the cache has instead.
    fn absent(&self, cache: &Cache) -> Failure {
        if let Some(failure) = other_platform(cache, self.reference, self.platform) {
            return failure;
        }
        // The listing only improves a failure that is reported anyway.
        let images = cache
            .listing()
            .map(|listing| listing.images)
            .unwrap_or_default();
        let mut known: Vec<String> = images
            .iter()
            .map(|image| image.reference.to_string())
            .collect();
        known.dedup();
        let known = match known.is_empty() {
            true => "nothing is cached".to_owned(),
            false => format!("cached: {}", known.join(", ")),
        };
        let ImageRequest {
            reference,
            platform,
            ..
        } = self;
        Failure::new(format!(
            "cannot find {reference} ({platform}) in the cache; {known}"
        ))
        .hint(format!("fetch it: box pull {reference}"))
    }
}

/// Fetches an image if necessary. Shared by all commands that take an image.
pub fn fetch(
    settings: &Settings,
    reference: &Reference,
    options: &PullOptions,
) -> Result<(Image, Outcome), box_pull::Error> {
    let cache = match options.offline {
        true => Cache::open_existing(&settings.dirs.cache),
        false => Cache::open(&settings.dirs.cache)?,
    };
    if let Some(pins) = &options.pins {
        cache.note_lock_file(pins.path())?;
    }
    let bars = Bars::new(settings);
    if !options.offline {
        say_whose(reference, &bars);
    }
    let sink = layers::sink(settings);
    let pulled = box_pull::pull(&cache, reference, options, sink.as_ref(), &bars)?;
    Ok((pulled.image, pulled.outcome))
}

/// Says in full what a name without a host means.
fn say_whose(reference: &Reference, progress: &dyn Progress) {
    if let Some(full) = options::expansion(reference) {
        let text = format!("{reference} is {full}");
        progress.event(Event::Note { text: &text });
    }
}

/// Fetches the images of a reference for all platforms. Those for other machines are unpacked when they are used.
pub fn fetch_all(
    settings: &Settings,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Vec<(Image, Outcome)>, box_pull::Error> {
    let cache = Cache::open(&settings.dirs.cache)?;
    let bars = Bars::new(settings);
    say_whose(reference, &bars);
    let sink = layers::sink(settings);
    let others = layers::hashing_sink();
    let sinks = (sink.as_ref(), others.as_ref());
    let pulled = box_pull::pull_all(&cache, reference, options, sinks, &bars)?;
    let images = pulled.into_iter();
    Ok(images.map(|one| (one.image, one.outcome)).collect())
}

/// The failure that names the platforms for which the cache has an image; `None` if it has it for none.
pub fn other_platform(cache: &Cache, reference: &Reference, wanted: &Platform) -> Option<Failure> {
    let platforms = cache.platforms(reference).ok()?;
    platforms.first()?;
    let list: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let wanted = match *wanted == Platform::host() {
        true => format!("this machine is {}", Platform::machine()),
        false => format!("{wanted} is requested"),
    };
    let message = format!(
        "cannot use {reference}: it is for {}, but {wanted}",
        list.join(", ")
    );
    // An image for a newer processor of this kind, or for another system, cannot be used here with any flag.
    let host = Platform::host();
    let mut others = platforms.iter();
    let other =
        others.find(|other| other.os() == host.os() && other.architecture() != host.architecture());
    Some(
        Failure::new(message)
            .maybe_hint(other.map(|other| format!("to use it anyway: --platform {other}"))),
    )
}

/// Whether the images of a reference were made or loaded here, so that no registry is asked for them.
fn is_local(cache: &Cache, reference: &Reference) -> bool {
    let images = cache.find_all(reference).unwrap_or_default();
    let local = |image: &Image| !image.reference.is_own() && image.provenance.served.is_none();
    !images.is_empty() && images.iter().all(local)
}

type Trees = Result<Layers, layers::Error>;

/// Why the cache does not provide an image.
enum Lack {
    Damaged(Failure),
    Untrusted(Failure),
    Other(Failure),
}

impl From<Lack> for Failure {
    fn from(lack: Lack) -> Failure {
        match lack {
            Lack::Damaged(failure) | Lack::Untrusted(failure) | Lack::Other(failure) => failure,
        }
    }
}
