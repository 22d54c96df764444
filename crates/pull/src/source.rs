//! Where images come from. A distribution is one file here, and one line in [`SOURCES`].

pub(crate) mod alpine;
mod registry;

use box_cache::{Event, Platform, Progress, Reference};
use box_registry::Registry;
use box_transfer::Printable;

use crate::error::{Error, Result};
use crate::mirror::Mirrors;
use crate::resolved::Resolved;

/// One kind of publisher: what its references mean, and what it offers.
pub(crate) trait Source: Sync {
    /// The name of its images, in references and in messages.
    fn name(&self) -> &'static str;

    /// Whether a reference is this source's.
    fn serves(&self, reference: &Reference) -> bool {
        reference.name() == self.name()
    }

    /// What a reference stands for now.
    fn resolve(&self, query: &Query<'_>) -> Result<Resolved>;

    /// What a reference stands for now on every platform. Only registries publish all platforms under one name.
    fn resolve_all(&self, query: &Query<'_>) -> Result<Vec<Resolved>> {
        Ok(vec![self.resolve(query)?])
    }

    /// Everything that is published for a platform, oldest first.
    fn offers(&self, query: &Query<'_>) -> Result<Vec<Offer>>;
}

/// A question to a source.
pub(crate) struct Query<'a> {
    /// The image.
    pub reference: &'a Reference,
    /// The machine that it is for.
    pub platform: &'a Platform,
    /// Whom to ask about distributions.
    pub mirrors: &'a Mirrors<'a>,
    /// Whom to ask about images of registries.
    pub registry: &'a Registry<'a>,
    /// Who hears of what is worth knowing.
    pub progress: &'a dyn Progress,
}

impl Query<'_> {
    /// Says something that is not a failure.
    pub fn note(&self, text: &str) {
        self.progress.event(Event::Note { text });
    }
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

/// All sources, in the order in which they are asked for a reference.
const SOURCES: [&dyn Source; 2] = [&alpine::Alpine, &registry::Registries];

/// The source of a reference.
pub(crate) fn of(reference: &Reference) -> Result<&'static dyn Source> {
    SOURCES
        .into_iter()
        .find(|source| source.serves(reference))
        .ok_or_else(|| Error::UnknownName {
            name: Printable::new(reference.name()),
        })
}
