//! Looking for signatures where cosign puts them: under the tag `sha256-<hex>.sig`, and among the referrers of a digest.

use box_cache::{Digest, Verified};
use box_registry::{Document, Error, Repository, Wanted};
use oci_spec::image::{Descriptor, ImageManifest};

use super::bundle::MEDIA_TYPE as BUNDLE;
use super::evidence::STRANGER;
use super::policy::Signers;
use super::signing::{MOST_PAYLOADS, PAYLOAD, SIGNATURE, tag};
use super::{Evidence, Subject};

/// The artifact type of referrers that are laid out like the manifest under the tag.
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// Most referrers of one digest that are looked at.
const MOST_REFERRERS: usize = 32;

/// Most bytes of a payload.
const PAYLOAD_LIMIT: u64 = 16 << 10;

/// Most bytes of a bundle, with the certificates and log entries that are not kept.
const BUNDLE_LIMIT: u64 = 1 << 20;

/// What was found in a repository.
struct Search<'a> {
    repository: &'a Repository<'a>,
    signers: &'a Signers,
    subject: &'a Subject<'a>,
    /// Why what was found so far does not count.
    reasons: Vec<String>,
}

/// Finds a signature that vouches for an image: of its manifest, or of one of the indexes that it was chosen from.
///
/// # Errors
/// Why there is none, as part of a sentence.
pub(crate) fn find(
    repository: &Repository<'_>,
    signers: &Signers,
    subject: &Subject<'_>,
    digests: &[Digest],
) -> Result<Verified, String> {
    let mut search = Search {
        repository,
        signers,
        subject,
        reasons: Vec::new(),
    };
    for digest in digests {
        if let Some(verified) = search.under_tag(digest) {
            return Ok(verified);
        }
    }
    for digest in digests {
        if let Some(verified) = search.among_referrers(digest) {
            return Ok(verified);
        }
    }
    Err(match search.reasons.as_slice() {
        [] => "it is not signed".to_owned(),
        [why] => format!("its signature does not count: {why}"),
        all => {
            // What is wrong with a signature by a trusted key says more than that there are others.
            let telling = all.iter().find(|why| *why != STRANGER);
            let why = telling.map_or(STRANGER, String::as_str);
            format!("none of its {} signatures counts: {why}", all.len())
        }
    })
}

impl Search<'_> {
    fn under_tag(&mut self, digest: &Digest) -> Option<Verified> {
        let found = self.repository.manifest(Wanted::Tag(&tag(digest)));
        let document = self.present(found)?;
        self.payloads(&document)
    }

    fn among_referrers(&mut self, digest: &Digest) -> Option<Verified> {
        let found = self.repository.referrers(digest, None);
        let referrers = self.present(found)?;
        let kinds = |referrer: &Descriptor| {
            let kind = referrer.artifact_type().as_ref().map(ToString::to_string);
            // Some clients that keep the list under a tag leave the type out.
            kind.is_none_or(|kind| kind.starts_with(BUNDLE) || kind == ARTIFACT)
        };
        for referrer in referrers.iter().filter(|r| kinds(r)).take(MOST_REFERRERS) {
            let digest: Digest = match referrer.digest().to_string().parse() {
                Ok(digest) => digest,
                Err(_) => continue,
            };
            let found = self.repository.manifest(Wanted::Digest(&digest));
            let Some(document) = self.present(found) else {
                continue;
            };
            let verified = self.payloads(&document).or_else(|| self.bundles(&document));
            if verified.is_some() {
                return verified;
            }
        }
        None
    }

    /// Checks the payloads of a manifest.
    fn payloads(&mut self, document: &Document) -> Option<Verified> {
        for layer in self.layers(document, |kind| kind == PAYLOAD) {
            let notes = layer.annotations().clone().unwrap_or_default();
            let Some(signature) = notes.get(SIGNATURE) else {
                continue;
            };
            let found = self.repository.blob(&layer, PAYLOAD_LIMIT);
            let Some(payload) = self.present(found) else {
                continue;
            };
            let evidence = Evidence::payload(&payload, signature);
            if let Some(verified) = self.check(evidence) {
                return Some(verified);
            }
        }
        None
    }

    /// Checks the bundles of a manifest.
    fn bundles(&mut self, document: &Document) -> Option<Verified> {
        for layer in self.layers(document, |kind| kind.starts_with(BUNDLE)) {
            let found = self.repository.blob(&layer, BUNDLE_LIMIT);
            let Some(bytes) = self.present(found) else {
                continue;
            };
            if let Some(verified) = self.check(Evidence::bundle(&bytes)) {
                return Some(verified);
            }
        }
        None
    }

    fn layers(&mut self, document: &Document, wanted: impl Fn(&str) -> bool) -> Vec<Descriptor> {
        match serde_json::from_slice::<ImageManifest>(&document.bytes) {
            Ok(manifest) => {
                let layers = manifest.layers().iter();
                let layers = layers.filter(|layer| wanted(layer.media_type().as_ref()));
                layers.take(MOST_PAYLOADS).cloned().collect()
            }
            Err(error) => {
                self.reasons.push(format!(
                    "its manifest {} is malformed: {error}",
                    document.digest
                ));
                Vec::new()
            }
        }
    }

    fn check(&mut self, evidence: Result<Evidence, String>) -> Option<Verified> {
        let checked = evidence.and_then(|evidence| evidence.check(self.signers, self.subject));
        checked.map_err(|why| self.reasons.push(why)).ok()
    }

    /// What a registry has. Whatever else fails is a reason why there is no signature: it must not hide one that is elsewhere.
    fn present<T>(&mut self, found: Result<T, Error>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(Error::NotFound { .. }) => None,
            Err(error) => {
                self.reasons.push(error.to_string());
                None
            }
        }
    }
}
