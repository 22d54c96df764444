//! What mirrors offer, without fetching it.

use box_cache::{Cache, Progress, Reference};

use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::options::Options;
use crate::pins::Pin;
use crate::source::{self, Ask, Offer, Release};

/// The mirrors, ready to be asked. Keeps a thread alive until it is dropped.
pub struct Remote<'a> {
    pub(crate) options: &'a Options,
    pub(crate) fetcher: Fetcher<'a>,
}

/// What a pull would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What would be fetched.
    pub release: Release,
    /// Where it would be fetched from first.
    pub url: String,
    /// Size of the file in bytes, where it is known.
    pub size: Option<u64>,
    /// Whether the file is in the cache already, so that nothing would be fetched.
    pub cached: bool,
    /// Whether nothing at all would change.
    pub unchanged: bool,
}

impl<'a> Remote<'a> {
    /// Nothing is connected to yet.
    pub fn new(options: &'a Options, progress: &'a dyn Progress) -> Self {
        let fetcher = Fetcher::new(&options.mirrors, &options.http, &options.retry, progress);
        Self { options, fetcher }
    }

    /// Whether there is a publisher whom a reference can be fetched from.
    pub fn knows(reference: &Reference) -> bool {
        source::of(reference).is_ok()
    }

    /// What a reference stands for now: by the lock file, else by the mirrors.
    pub fn resolve(&self, reference: &Reference) -> Result<Release> {
        match pin(self.options, reference)? {
            Some(pin) => Ok(Release::from(pin)),
            None => self.newest(reference),
        }
    }

    /// What a reference stands for now by the mirrors, whatever a lock file says.
    pub fn newest(&self, reference: &Reference) -> Result<Release> {
        let ask = Ask {
            reference,
            platform: &self.options.platform,
        };
        let source = source::of(reference)?;
        self.refuse_offline(reference)?;
        source.resolve(&ask, &self.fetcher)
    }

    /// Everything that there is of a name, oldest first.
    pub fn offers(&self, name: &Reference) -> Result<Vec<Offer>> {
        let source = source::of(name)?;
        self.refuse_offline(name)?;
        source.offers(&self.options.platform, &self.fetcher)
    }

    /// What a pull would do. Nothing is fetched but what tells that.
    pub fn plan(&self, cache: &Cache, reference: &Reference) -> Result<Plan> {
        let release = self.resolve(reference)?;
        let blob = cache.has_blob(&release.sha256)?;
        let image = cache.find_exactly(reference, &self.options.platform);
        let same = image.is_ok_and(|image| image.is_some_and(|i| i.is_of(&release.sha256)));
        let locations = self.fetcher.locations(&release.path);
        let mut size = release.size.or(blob);
        for location in &locations {
            if size.is_none() {
                size = self
                    .fetcher
                    .open(location, None)?
                    .ok()
                    .and_then(|opened| opened.size);
            }
        }
        Ok(Plan {
            url: locations
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            size,
            cached: blob.is_some(),
            unchanged: same && blob.is_some(),
            release,
        })
    }

    fn refuse_offline(&self, reference: &Reference) -> Result<()> {
        match self.options.offline {
            true => Err(Error::Offline {
                reference: reference.to_string(),
                cached: Vec::new(),
            }),
            false => Ok(()),
        }
    }
}

impl From<&Pin> for Release {
    fn from(pin: &Pin) -> Self {
        Self {
            version: pin.version.clone(),
            path: pin.path.clone(),
            size: Some(pin.size),
            sha256: pin.tarball,
            sha512: None,
            current: true,
            searched: Vec::new(),
        }
    }
}

/// What the lock file says that a reference stands for.
pub(crate) fn pin<'a>(options: &'a Options, reference: &Reference) -> Result<Option<&'a Pin>> {
    let Some(pins) = &options.pins else {
        return Ok(None);
    };
    match pins.get(reference, &options.platform) {
        Some(pin) => match reference.digest() {
            Some(demanded) if ![pin.manifest, pin.tarball].contains(demanded) => {
                Err(Error::WrongDigest {
                    reference: reference.without_digest().to_string(),
                    expected: demanded.to_string(),
                    found: format!("{} has {}", pins.path().display(), pin.manifest),
                })
            }
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
