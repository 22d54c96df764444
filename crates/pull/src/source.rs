//! Where images come from.

mod alpine;
pub mod tarball;

use box_cache::{Digest, Platform, Reference};

use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::foreign::Foreign;

/// One kind of publisher: what its references mean, and what it offers.
pub(crate) trait Source {
    /// Whether references of this name are this source's.
    fn serves(&self, name: &str) -> bool;

    /// What a reference stands for now.
    fn resolve(&self, ask: &Ask<'_>, fetcher: &Fetcher<'_>) -> Result<Release>;

    /// Everything that there is for a platform, oldest first.
    fn offers(&self, platform: &Platform, fetcher: &Fetcher<'_>) -> Result<Vec<Offer>>;
}

/// What is asked of a source.
pub(crate) struct Ask<'a> {
    /// The image.
    pub reference: &'a Reference,
    /// For which machine.
    pub platform: &'a Platform,
}

/// One release of a root filesystem: a file on the mirrors, and what it must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The publisher's name of it.
    pub version: String,
    /// Path of the file below each mirror.
    pub path: String,
    /// Size in bytes, where it was told.
    pub size: Option<u64>,
    /// Its digest.
    pub sha256: Digest,
    /// Its digest by the other algorithm, where it was told.
    pub sha512: Option<Digest>,
    /// Whether this is what the reference's tag means now; not so for an older release found by its digest.
    pub current: bool,
    /// Where a digest was demanded and not found: the branches whose tarballs were looked through for it.
    pub searched: Vec<String>,
}

/// A release as a mirror lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The branch that it belongs to.
    pub branch: String,
    /// The release.
    pub version: String,
    /// Whether it is the newest of its branch.
    pub newest: bool,
}

/// The source of a reference.
pub(crate) fn of(reference: &Reference) -> Result<&'static dyn Source> {
    const SOURCES: [&dyn Source; 1] = [&alpine::Alpine];
    SOURCES
        .into_iter()
        .find(|source| source.serves(reference.name()))
        .ok_or_else(|| Error::UnknownName {
            name: Foreign::new(reference.name()),
        })
}
