//! Blobs: where they are, and the small ones at once.

use base64::Engine as _;
use box_cache::Digest;
use box_transfer::{Body, Cause, Location, Open as _, Printable, Url};
use oci_spec::image::Descriptor;

use super::Repository;
use super::manifest::digest_like;
use crate::complaint::Pace;
use crate::{Error, Result};

impl Repository<'_> {
    /// A small blob, such as a config, of at most `limit` bytes. It has the size and the digest of its descriptor. A blob that is embedded
    /// in the descriptor is taken from there.
    pub fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let what = format!("{}@{}", self.name, descriptor.digest());
        let digest: Digest = descriptor.digest().to_string().parse().map_err(|_| {
            let digest = descriptor.digest();
            self.refuse_blob(
                &what,
                format!("its digest {digest} is of no known algorithm"),
            )
        })?;
        let size = descriptor.size();
        if size > limit {
            let why = format!("it has {size} bytes, more than the limit of {limit}");
            return Err(self.refuse_blob(&what, why));
        }
        if let Some(data) = descriptor.data() {
            let bytes = embedded(data, size, &digest);
            return bytes.map_err(|why| self.refuse_blob(&what, why));
        }
        self.try_each(&what, &self.places.reads, |endpoint| {
            let url = self.url(endpoint, &format!("blobs/{digest}"))?;
            Ok(self
                .whole(&url, size)?
                .and_then(|bytes| match digest_like(&digest, &bytes) {
                    actual if actual == digest => Ok(bytes),
                    actual => Err(Cause::digest(&digest, &actual)),
                }))
        })
    }

    /// Where a blob is to be had: mirrors, then the registry. The session opens these URLs.
    pub fn locations(&self, digest: &Digest) -> Vec<Location> {
        let endpoints = self.session.in_order(&self.places.reads).into_iter();
        let urls =
            endpoints.filter_map(
                |endpoint| match self.url(endpoint, &format!("blobs/{digest}")) {
                    Ok(url) => Some(Location::Http(url)),
                    Err(error) => {
                        self.session.warn_once(&error.to_string());
                        None
                    }
                },
            );
        urls.collect()
    }

    fn refuse_blob(&self, what: &str, why: String) -> Error {
        Error::Blob {
            what: what.to_owned(),
            why: Printable::new(&why),
        }
    }

    /// All of a blob whose size is known.
    fn whole(&self, url: &Url, size: u64) -> Result<Result<Vec<u8>, Cause>> {
        Ok(self
            .session
            .open(url, None)?
            .and_then(|mut body| read_whole(&mut body, size)))
    }
}

fn read_whole(body: &mut Body, size: u64) -> Result<Vec<u8>, Cause> {
    if let Some(actual) = body.size
        && actual != size
    {
        return Err(Cause::Size {
            expected: size,
            actual,
            html: body.html,
        });
    }
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8 << 10]);
    let pace = Pace::start();
    loop {
        match body.read(&mut buffer)? {
            0 => break,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        pace.check(bytes.len() as u64)?;
        if bytes.len() as u64 > size {
            return Err(Cause::TooLong { limit: size });
        }
    }
    match bytes.len() as u64 {
        actual if actual < size => Err(Cause::Truncated {
            expected: size,
            actual,
        }),
        _ => Ok(bytes),
    }
}

/// The bytes that a descriptor holds itself.
fn embedded(data: &str, size: u64, digest: &Digest) -> Result<Vec<u8>, String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .map_err(|_| "the bytes that its descriptor embeds are not base64".to_owned())?;
    if bytes.len() as u64 != size || digest_like(digest, &bytes) != *digest {
        return Err("the bytes that its descriptor embeds are others".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_bytes_must_be_those_of_the_digest() {
        let digest = Digest::of(b"{}");
        assert_eq!(embedded("e30=", 2, &digest), Ok(b"{}".to_vec()));
        assert!(embedded("e30=", 3, &digest).is_err());
        assert!(embedded("e31=", 2, &digest).is_err());
        assert!(embedded("W10=", 2, &digest).is_err());
        assert!(embedded("!", 2, &digest).is_err());
    }
}
