//! Alpine Linux: release lists and tarballs, as on every Alpine mirror.
//!
//! `<branch>/releases/<arch>/latest-releases.yaml` lists the newest release of a branch; every release of the branch
//! lies beside it as `alpine-minirootfs-<version>-<arch>.tar.gz`, each with `.sha256`, `.sha512` and `.asc` (at times hours
//! later) beside it.

mod arch;
mod catalog;
mod error;
mod missing;
mod releases;
mod search;
mod sidecar;
mod version;

use box_transfer::Printable;

use super::{Offer, Query, Source};
use crate::error::Result;
use crate::resolved::Resolved;
use catalog::Catalog;
use version::Selector;

pub use error::{AlpineError, Alternatives};

/// Where Alpine is fetched from by default.
pub const DEFAULT_MIRROR: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// Alpine's releases.
pub(crate) struct Alpine;

impl Source for Alpine {
    fn name(&self) -> &'static str {
        "alpine"
    }

    fn resolve(&self, query: &Query<'_>) -> Result<Resolved> {
        let catalog = Catalog::of(query)?;
        let tag = query.reference.tag();
        let selector = Selector::from_tag(tag).ok_or_else(|| AlpineError::UnknownTag {
            reference: query.reference.to_string(),
            tag: Printable::new(tag.unwrap_or_default()),
        })?;
        let release = match &selector {
            Selector::Newest(branch) => catalog.newest(branch)?,
            Selector::Major(major) => catalog.newest_of_major(*major)?,
            Selector::Exactly(version) => {
                let release = catalog.exactly(&version.branch(), version)?;
                return Ok(catalog.resolved(&release));
            }
        };
        match query.reference.digest() {
            Some(demanded) if *demanded != release.sha256 => {
                catalog.search(&release, demanded, tag.is_none())
            }
            _ => Ok(catalog.resolved(&release)),
        }
    }

    fn offers(&self, query: &Query<'_>) -> Result<Vec<Offer>> {
        Catalog::of(query)?.offers()
    }
}
