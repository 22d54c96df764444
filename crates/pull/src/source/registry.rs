//! Registries: every image but Alpine's own releases.
//!
//! A tag or a digest leads to a manifest, or to an index from which the manifest for the platform is chosen. All documents are kept
//! as they are served.

mod choice;
mod image;

use box_cache::{Digest, Platform, Reference};
use box_registry::{Document, Parsed, Repository, RepositoryName, Wanted};
use box_transfer::Printable;

use super::{Offer, Query, Source};
use crate::error::{Error, Result};
use crate::resolved::Resolved;
use choice::{Candidate, Candidates};
use image::Manifest;

/// All registries.
pub(crate) struct Registries;

impl Source for Registries {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn serves(&self, reference: &Reference) -> bool {
        RepositoryName::of(reference).is_some()
    }

    fn resolve(&self, query: &Query<'_>) -> Result<Resolved> {
        let asked = Asked::new(query)?;
        let resolved = match asked.top()? {
            Top::Image(document) => {
                let manifest = Manifest::read(&asked, document, Vec::new(), None)?;
                let platforms = vec![manifest.platform.clone()];
                match query.platform.accepts(&manifest.platform) {
                    Some(_) => manifest.resolved(&asked),
                    None => Err(asked.no_image(platforms)),
                }
            }
            Top::Index(candidates) => {
                let chosen = asked.choose(candidates)?;
                chosen.resolved(&asked)
            }
        }?;
        Ok(resolved)
    }

    fn resolve_all(&self, query: &Query<'_>) -> Result<Vec<Resolved>> {
        let asked = Asked::new(query)?;
        let candidates = match asked.top()? {
            Top::Image(document) => {
                let manifest = Manifest::read(&asked, document, Vec::new(), None)?;
                return Ok(vec![manifest.resolved(&asked)?]);
            }
            Top::Index(candidates) => candidates,
        };
        if let Some(text) = candidates.left_out() {
            query.note(&format!("{}: {text}", query.reference));
        }
        let mut all = Vec::new();
        for candidate in candidates.images {
            match asked.fetch(candidate) {
                Ok(manifest) => all.push(manifest.resolved(&asked)?),
                Err(error @ Error::Artifact { .. }) => query.note(&format!("leaving out: {error}")),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn offers(&self, query: &Query<'_>) -> Result<Vec<Offer>> {
        let tags = Asked::new(query)?.repository.tags()?;
        let offers = tags.into_iter().map(|tag| Offer {
            branch: String::new(),
            version: tag,
            newest: false,
        });
        Ok(offers.collect())
    }
}

/// One query to one repository.
pub(crate) struct Asked<'a> {
    query: &'a Query<'a>,
    name: RepositoryName,
    repository: Repository<'a>,
}

/// What a reference leads to.
enum Top {
    Image(Document),
    Index(Candidates),
}

impl<'a> Asked<'a> {
    fn new(query: &'a Query<'a>) -> Result<Self> {
        let name = RepositoryName::of(query.reference).ok_or_else(|| Error::UnknownName {
            name: Printable::new(query.reference.name()),
        })?;
        Ok(Self {
            query,
            repository: query.registry.repository(&name)?,
            name,
        })
    }

    /// The document that the reference means.
    fn top(&self) -> Result<Top> {
        let reference = self.query.reference;
        let document = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => self.repository.manifest(Wanted::Digest(digest))?,
            (None, tag) => {
                let tag = tag.unwrap_or("latest");
                self.repository.manifest(Wanted::Tag(tag))?
            }
        };
        match document.parse()? {
            Parsed::Image(_) => Ok(Top::Image(document)),
            Parsed::Index(index) => Ok(Top::Index(Candidates::of(
                index,
                document.bytes,
                &mut |digest| self.nested(digest),
            )?)),
        }
    }

    /// The index of a digest.
    fn nested(&self, digest: &Digest) -> Result<(oci_spec::image::ImageIndex, Vec<u8>)> {
        let document = self.repository.manifest(Wanted::Digest(digest))?;
        match document.parse()? {
            Parsed::Index(index) => Ok((index, document.bytes)),
            Parsed::Image(_) => Err(self.malformed(&format!("{digest} is not an index"))),
        }
    }

    /// The image that fits the platform best.
    fn choose(&self, candidates: Candidates) -> Result<Manifest> {
        let mut platforms = candidates.platforms();
        let (chosen, unknown) = candidates.choose(self.query.platform);
        if let Some(chosen) = chosen {
            return self.fetch(chosen);
        }
        // Some tools write indexes without platforms; then the configs have them.
        for candidate in unknown {
            let manifest = self.fetch(candidate)?;
            match self.query.platform.accepts(&manifest.platform) {
                Some(_) => return Ok(manifest),
                None => platforms.push(manifest.platform),
            }
        }
        Err(self.no_image(platforms))
    }

    fn fetch(&self, candidate: Candidate) -> Result<Manifest> {
        let document = match candidate.embedded {
            Some(document) => document,
            None => self
                .repository
                .manifest(Wanted::Digest(&candidate.digest))?,
        };
        if document.digest != candidate.digest {
            return Err(self.malformed("a manifest has another digest than the index names"));
        }
        Manifest::read(self, document, candidate.indexes, candidate.platform)
    }

    fn no_image(&self, mut platforms: Vec<Platform>) -> Error {
        platforms.sort();
        platforms.dedup();
        Error::NoPlatform {
            reference: self.query.reference.to_string(),
            wanted: self.query.platform.to_string(),
            platforms: platforms.iter().map(ToString::to_string).collect(),
        }
    }

    fn malformed(&self, why: &str) -> Error {
        Error::Document {
            reference: self.query.reference.to_string(),
            why: Printable::new(why),
        }
    }
}
