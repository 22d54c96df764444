//! Asking for manifests and indexes.

use box_cache::{Digest, Hasher};
use box_transfer::header::{self, HeaderName, HeaderValue};
use box_transfer::{Cause, Method, Request, Response};
use oci_spec::image::Descriptor;

use super::{Repository, Wanted};
use crate::auth::Access;
use crate::complaint::{Complaint, small};
use crate::document::{self, Document, LARGEST, essence, is_manifest};
use crate::endpoint::Endpoint;
use crate::{Error, Result};

/// What is accepted: images of both kinds, and artifacts as they are manifests. Schema 1 last, so that its error is better than "not found".
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1";

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Repository<'_> {
    /// What a tag or a digest names, without its bytes as far as the registry tells. `None` if there is no such manifest.
    ///
    /// For a tag, the digest is what the registry claims, or that of the bytes if it had to send them.
    pub fn head(&self, wanted: Wanted<'_>) -> Result<Option<Descriptor>> {
        let what = wanted.of(&self.name);
        let got = self.try_each(&what, self.readers(wanted), |endpoint| {
            match self.head_at(endpoint, wanted)? {
                Ok(Some(descriptor)) => return Ok(Ok(descriptor)),
                Ok(None) => {}
                Err(cause) => return Ok(Err(cause)),
            }
            let got = self.manifest_at(endpoint, wanted)?;
            Ok(got.map(|document| document.descriptor()))
        });
        match got {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(Error::NotFound { hidden: false, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The manifest or index that a tag or a digest names. The bytes have the digest that was asked for, and the one that the
    /// registry claims.
    pub fn manifest(&self, wanted: Wanted<'_>) -> Result<Document> {
        let what = wanted.of(&self.name);
        self.try_each(&what, self.readers(wanted), |endpoint| {
            self.manifest_at(endpoint, wanted)
        })
    }

    /// The places that may be asked; the registry itself, if no mirror may.
    fn readers(&self, wanted: Wanted<'_>) -> Vec<&Endpoint> {
        let all = self.places.reads.iter();
        let some: Vec<&Endpoint> = all.filter(|e| wanted.may_come_from(e)).collect();
        match some.is_empty() {
            true => vec![&self.places.registry],
            false => some,
        }
    }

    /// What HEAD tells; `None` where only a GET does.
    fn head_at(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
    ) -> Result<Result<Option<Descriptor>, Cause>> {
        let response = match self.ask(endpoint, Method::HEAD, wanted)? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause)),
        };
        match response.status().as_u16() {
            200 => Ok(Ok(described(&response, wanted))),
            429 | 500 | 502..=599 => Ok(Err(Cause::of_status(&response))),
            // Some refuse HEAD, or answer it with something else.
            _ => Ok(Ok(None)),
        }
    }

    pub(super) fn manifest_at(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
    ) -> Result<Result<Document, Cause>> {
        let mut response = match self.ask(endpoint, Method::GET, wanted)? {
            Ok(response) => response,
            Err(cause) => return Ok(Err(cause)),
        };
        if response.status() != 200 {
            let complaint = Complaint::read(&mut response);
            return Ok(Err(complaint.cause(&response)));
        }
        Ok(read(&mut response, wanted))
    }

    fn ask(
        &self,
        endpoint: &Endpoint,
        method: Method,
        wanted: Wanted<'_>,
    ) -> Result<Result<Response, Cause>> {
        let url = self.url(endpoint, &format!("manifests/{}", wanted.path()))?;
        let mut request = Request {
            method,
            ..Request::new(&url)
        };
        let accept = HeaderValue::from_static(ACCEPT);
        request.headers.insert(header::ACCEPT, accept);
        let sent = self.send(endpoint, &Access::Pull, &request)?;
        if let Ok(response) = &sent {
            self.session.note_quota(self.name.host(), response);
        }
        Ok(sent)
    }
}

/// What the headers say, if they say all.
fn described(response: &Response, wanted: Wanted<'_>) -> Option<Descriptor> {
    let media_type = essence(response.header(header::CONTENT_TYPE)?);
    if !is_manifest(&media_type) {
        return None;
    }
    let size = response.header(header::CONTENT_LENGTH)?.parse().ok()?;
    let claimed = claimed(response)?;
    if let Wanted::Digest(digest) = wanted
        && *digest != claimed
    {
        return None;
    }
    (size > 0).then(|| document::descriptor(&media_type, size, &claimed))
}

/// The digest that the server claims. One of an unknown algorithm says nothing.
fn claimed(response: &Response) -> Option<Digest> {
    response.header(CONTENT_DIGEST)?.trim().parse().ok()
}

fn read(response: &mut Response, wanted: Wanted<'_>) -> Result<Document, Cause> {
    let content_type = response.header(header::CONTENT_TYPE).unwrap_or_default();
    let content_type = content_type.to_owned();
    let claimed = claimed(response);
    let bytes = small(response, LARGEST)?;
    let digest = match wanted {
        Wanted::Digest(digest) => *digest,
        Wanted::Tag(_) => Digest::of(&bytes),
    };
    // A claim by another algorithm is nobody's business: it is not how the manifest is known.
    let claimed = claimed.filter(|claimed| claimed.algorithm() == digest.algorithm());
    for expected in [Some(digest), claimed].into_iter().flatten() {
        let actual = digest_like(&expected, &bytes);
        if actual != expected {
            // A page of a proxy has no digest to speak of.
            Document::new(bytes, &content_type, digest)?;
            return Err(Cause::digest(&expected, &actual));
        }
    }
    Document::new(bytes, &content_type, digest)
}

/// The digest of some bytes, by the algorithm of another digest.
pub(super) fn digest_like(other: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = match other {
        Digest::Sha256(_) => Hasher::sha256(),
        Digest::Sha512(_) => Hasher::sha512(),
    };
    hasher.update(bytes);
    hasher.finish()
}
