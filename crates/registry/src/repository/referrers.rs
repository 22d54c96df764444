//! What refers to an image: signatures, attestations, bills of materials.
//!
//! See <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>.

use box_cache::Digest;
use box_transfer::Cause;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::{Repository, Wanted};
use crate::document::{Document, OCI_INDEX, Parsed};
use crate::endpoint::Endpoint;
use crate::{Error, Result};

impl Repository<'_> {
    /// The manifests that refer to `digest`, of one type if `artifact_type` is given. A place that lists none is no proof that there is
    /// none: the next one is asked, too.
    pub fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let what = format!("what refers to {}@{digest}", self.name);
        let is_wanted = |descriptor: &Descriptor| {
            let own = descriptor
                .artifact_type()
                .as_ref()
                .map(MediaType::to_string);
            artifact_type.is_none_or(|wanted| own.as_deref() == Some(wanted))
        };
        let mut all = Vec::new();
        for endpoint in self.session.in_order(&self.places.reads) {
            let got = self.try_each(&what, [endpoint], |endpoint| {
                self.referrers_at(endpoint, digest, artifact_type)
            });
            match got {
                Ok(got) => all = got,
                Err(error) if self.is_registry(endpoint) => return Err(error),
                Err(error) => self.session.warn_once(&error.to_string()),
            }
            all.retain(is_wanted);
            if !all.is_empty() || self.is_registry(endpoint) {
                break;
            }
        }
        Ok(all)
    }

    fn referrers_at(
        &self,
        endpoint: &Endpoint,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Result<Vec<Descriptor>, Cause>> {
        let mut url = self.url(endpoint, &format!("referrers/{digest}"))?;
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut()
                .append_pair("artifactType", artifact_type);
        }
        let mut all = Vec::new();
        let walked = self.pages(endpoint, url, Some(OCI_INDEX), &mut |bytes, headers| {
            let content_type = headers.get(box_transfer::header::CONTENT_TYPE);
            let content_type = content_type.and_then(|v| v.to_str().ok());
            let page = index(bytes, content_type.unwrap_or_default())?;
            all.extend(page.manifests().iter().cloned());
            Ok(all.len())
        })?;
        match walked {
            Ok(()) => Ok(Ok(all)),
            // Registries that do not know the call answer in many ways.
            Err(Cause::Absent | Cause::Malformed { .. } | Cause::Refused(_)) => {
                self.referrers_by_tag(endpoint, digest)
            }
            Err(Cause::Status {
                status: 400 | 405 | 406 | 501,
                ..
            }) => self.referrers_by_tag(endpoint, digest),
            Err(cause) => Ok(Err(cause)),
        }
    }

    /// Where the registry does not know the call, clients keep the list under a tag.
    fn referrers_by_tag(
        &self,
        endpoint: &Endpoint,
        digest: &Digest,
    ) -> Result<Result<Vec<Descriptor>, Cause>> {
        let tag = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        // A tag has 128 characters at most, and the specification cuts the digest there.
        let tag = &tag[..tag.len().min(128)];
        let document = match self.manifest_at(endpoint, Wanted::Tag(tag))? {
            Ok(document) => document,
            Err(Cause::Absent) => return Ok(Ok(Vec::new())),
            Err(cause) => return Ok(Err(cause)),
        };
        match document.parse() {
            Ok(Parsed::Index(index)) => Ok(Ok(index.manifests().clone())),
            Ok(Parsed::Image(_)) => Ok(Ok(Vec::new())),
            Err(Error::Document { why, .. }) => Ok(Err(Cause::Malformed {
                what: "list of referrers",
                why: why.to_string(),
            })),
            Err(error) => Err(error),
        }
    }
}

fn index(bytes: &[u8], content_type: &str) -> Result<ImageIndex, Cause> {
    let document = Document::new(bytes.to_vec(), content_type, Digest::of(bytes))?;
    match document.parse() {
        Ok(Parsed::Index(index)) => Ok(index),
        _ => Err(Cause::Malformed {
            what: "list of referrers",
            why: "it is not an index".to_owned(),
        }),
    }
}
