//! Manifests and indexes, byte for byte as they are.

use box_cache::Digest;
use box_transfer::header::{self, HeaderMap, HeaderName, HeaderValue};
use box_transfer::{Cause, Content, Method, Response};

use super::session;
use crate::repository::{Repository, Wanted};
use crate::{Document, Result};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Repository<'_> {
    /// Puts a document under a tag or under its digest. What it names must be in the repository.
    pub fn put_manifest(&self, name: Wanted<'_>, document: &Document) -> Result<()> {
        let what = name.of(&self.name);
        let url = self.url(&self.places.registry, &format!("manifests/{}", name.path()))?;
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_str(&document.media_type);
        let content_type = content_type.map_err(|_| crate::Error::Document {
            digest: document.digest,
            why: box_transfer::Printable::new("its media type is no text"),
        })?;
        headers.insert(header::CONTENT_TYPE, content_type);
        self.persist(&what, || {
            let content = Content::Bytes(&document.bytes);
            let sent = session::send(self, Method::PUT, &url, headers.clone(), content)?;
            let mut response = match sent {
                Ok(response) => response,
                Err(cause) => return Ok(Err(cause.into())),
            };
            if !response.status().is_success() {
                let complaint = crate::complaint::Complaint::read(&mut response);
                return Ok(Err(complaint.cause(&response).into()));
            }
            Ok(compare(&response, &document.digest).map_err(Into::into))
        })
    }
}

/// Compares the digest that a registry answers, if it does, with the expected one.
pub(super) fn compare(response: &Response, expected: &Digest) -> Result<(), Cause> {
    let answered = response.header(CONTENT_DIGEST);
    let answered: Option<Digest> = answered.and_then(|text| text.trim().parse().ok());
    match answered {
        // One of another algorithm says nothing.
        Some(actual) if actual.algorithm() == expected.algorithm() && actual != *expected => {
            Err(Cause::Digest {
                expected: expected.to_string(),
                actual: actual.to_string(),
            })
        }
        _ => Ok(()),
    }
}
