//! An image made ready to be used: found in the cache or fetched into it, its layers unpacked.

use box_cache::{Cache, Hold, Image, Platform, Reference};
use box_pull::Remote;
use box_unpack::Layers;
use clap::ValueEnum;

use crate::bars::Bars;
use crate::commands::images::pull;
use crate::fetch::FetchArgs;
use crate::layers;
use crate::report::{Failure, warn};
use crate::settings::Settings;
use crate::trust;

/// When a mirror is asked for an image that may be in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PullPolicy {
    /// When the image is not in the cache.
    #[default]
    Missing,
    /// Every time, and a mirror that cannot be reached is a failure.
    Always,
    /// Every time, and what is cached serves where no mirror can be reached.
    Newer,
    /// Not at all.
    Never,
}

/// An image in the cache and its layer trees.
pub struct Supplied {
    /// The image.
    pub image: Image,
    /// Its layers, unpacked.
    pub layers: Layers,
    /// While it lives, nothing of this is collected.
    pub hold: Hold,
}

/// An image that is wanted.
pub struct Wanted<'a> {
    /// Which one.
    pub reference: &'a Reference,
    /// For which machine.
    pub platform: &'a Platform,
    /// When to ask a mirror.
    pub policy: PullPolicy,
    /// How to ask.
    pub fetch: &'a FetchArgs,
}

impl Wanted<'_> {
    /// Finds the image, or fetches it as the policy says, and makes the layer trees that are missing. Nothing that costs
    /// time is set up for an image that is there.
    pub fn ready(&self, settings: &Settings) -> Result<Supplied, Failure> {
        self.supply(settings, |cache, image| {
            layers::trees(settings, cache, image, || Bars::new(settings))
        })
    }

    /// As [`Wanted::ready`], without layer trees.
    pub fn image(&self, settings: &Settings) -> Result<Supplied, Failure> {
        self.supply(settings, |_, _| Ok(Layers::default()))
    }

    fn supply(
        &self,
        settings: &Settings,
        trees: impl Fn(&Cache, &Image) -> Trees,
    ) -> Result<Supplied, Failure> {
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
                // Its publisher may have one that is signed.
                Err(Lack::Unvouched(failure))
                    if self.policy == PullPolicy::Missing
                        && !settings.offline
                        && Remote::knows(&reference) =>
                {
                    refused = Some(failure);
                }
                // What is damaged is fetched again where that may be done.
                Err(Lack::Damaged(failure))
                    if self.policy == PullPolicy::Missing && !settings.offline =>
                {
                    warn(failure.message());
                }
                Err(lack) => return Err(lack.into()),
            }
        }
        let options = self.fetch.options(settings, self.platform)?;
        match pull::fetch(settings, self.reference, &options) {
            Ok(_) => {}
            Err(error) if self.policy == PullPolicy::Newer && error.is_unreachable() => {
                warn(Failure::from_error(&error).message());
            }
            Err(error) => match refused {
                None => return Err(error.into()),
                Some(refused) => {
                    let why = Failure::from_error(&error);
                    let both = format!(
                        "{}; nor can it be fetched: {}",
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
        let told = |error: box_cache::Error| match error.is_damage() {
            true => Lack::Damaged(error.into()),
            false => Lack::Other(error.into()),
        };
        let hold = cache.hold().map_err(told)?;
        let Some(image) = cache.find(reference, self.platform).map_err(told)? else {
            return Ok(None);
        };
        let policy = self.fetch.policy(settings).map_err(Lack::Other)?;
        trust::judge(settings, policy, &image).map_err(Lack::Unvouched)?;
        cache.touch(&image).map_err(told)?;
        let layers = trees(cache, &image).map_err(|error| match error {
            layers::Error::Cache(error) => told(error),
            layers::Error::Unpack(error) => Lack::Other(error.into()),
        })?;
        Ok(Some(Supplied {
            image,
            layers,
            hold,
        }))
    }

    /// Whether there is such an image for other platforms, and nobody to be asked for this one.
    fn is_for_others(&self, settings: &Settings, cache: &Cache) -> bool {
        (settings.offline || !Remote::knows(self.reference))
            && cache
                .platforms(self.reference)
                .is_ok_and(|platforms| !platforms.is_empty())
    }

    /// The failure that says what there is instead.
    fn absent(&self, cache: &Cache) -> Failure {
        if let Some(failure) = other_platform(cache, self.reference, self.platform) {
            return failure;
        }
        // The listing is only a help in a failure that is told anyway.
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
        let Wanted {
            reference,
            platform,
            ..
        } = self;
        Failure::new(format!(
            "{reference} ({platform}) is not in the cache; {known}"
        ))
        .hint(format!("fetch it: box pull {reference}"))
    }
}

/// The failure that says for which platforms there is an image; none where there is none at all.
pub fn other_platform(cache: &Cache, reference: &Reference, wanted: &Platform) -> Option<Failure> {
    let platforms = cache.platforms(reference).ok()?;
    platforms.first()?;
    let list: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let wanted = match *wanted == Platform::host() {
        true => format!("this machine is {}", Platform::machine()),
        false => format!("{wanted} is asked for"),
    };
    let message = format!("{reference} is for {}, and {wanted}", list.join(", "));
    // What needs a newer processor of this kind, or another system, is of no use here by any flag.
    let host = Platform::host();
    let mut others = platforms.iter();
    let other =
        others.find(|other| other.os() == host.os() && other.architecture() != host.architecture());
    Some(Failure::new(message).maybe_hint(
        other.map(|other| format!("to take that of another machine: --platform {other}")),
    ))
}

type Trees = Result<Layers, layers::Error>;

/// Why a cached image cannot be used.
enum Lack {
    Damaged(Failure),
    Unvouched(Failure),
    Other(Failure),
}

impl From<Lack> for Failure {
    fn from(lack: Lack) -> Failure {
        match lack {
            Lack::Damaged(failure) | Lack::Unvouched(failure) | Lack::Other(failure) => failure,
        }
    }
}
