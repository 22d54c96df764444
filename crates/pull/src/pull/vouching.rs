//! What vouches for a release: its publisher's signature, or else its checksums.

use std::io::Read;
use std::time::SystemTime;

use box_cache::{Image, Verified};

use super::Pull;
use crate::error::{Cause, Error, Result, Tried};
use crate::remote::Remote;
use crate::signature::VerifyPolicy;
use crate::source::Release;

/// Largest signature file that is read, in bytes.
const SIGNATURE_LIMIT: u64 = 64 << 10;

/// A signature and where it came from.
pub(super) type Signature = (Vec<u8>, String);

impl Pull<'_> {
    /// The signature beside a release, by the policy; before the release itself, so that nothing is fetched in vain.
    pub(super) fn signature(
        &self,
        remote: &Remote<'_>,
        release: &Release,
    ) -> Result<Option<Signature>> {
        if self.options.verify == VerifyPolicy::Off {
            return Ok(None);
        }
        match self.served_signature(remote, release)? {
            Ok(signature) => Ok(Some(signature)),
            Err(tried) if !tried.has_absent() => Err(Error::Unreachable {
                what: signature_path(release),
                tried,
            }),
            Err(tried) if self.options.verify == VerifyPolicy::Require => Err(Error::NotSigned {
                what: release.path.clone(),
                tried,
            }),
            Err(_) => {
                self.note(&format!(
                    "{} {} is not signed (yet): only its checksums vouch for it",
                    self.reference, release.version
                ));
                Ok(None)
            }
        }
    }

    /// The image once more, listed with the signature that its publisher gave it since it was fetched; none where there
    /// is nothing new. A publisher signs hours after the release, and who has it by then need not fetch it again.
    pub(super) fn signed_since(
        &self,
        remote: &Remote<'_>,
        release: &Release,
        image: &Image,
    ) -> Result<Option<Image>> {
        let signed = matches!(image.provenance.verified, Verified::Signature { .. });
        if signed || self.options.verify == VerifyPolicy::Off {
            return Ok(None);
        }
        match self.served_signature(remote, release)? {
            Ok(signature) => {
                let size = image.layers.iter().map(|layer| layer.size).sum();
                self.list_present(remote, release, Some(&signature), size)
            }
            // It was taken without one, and nothing has got worse.
            Err(tried) => {
                tracing::debug!(?tried, "no signature (yet)");
                Ok(None)
            }
        }
    }

    fn served_signature(
        &self,
        remote: &Remote<'_>,
        release: &Release,
    ) -> Result<Result<Signature, Tried>> {
        let path = signature_path(release);
        remote.fetcher.document(&path, SIGNATURE_LIMIT, |bytes| {
            Ok::<_, Cause>(bytes.to_vec())
        })
    }

    /// Checks the signature, if there is one; says what vouches for the file.
    pub(super) fn verified<R: Read>(
        &self,
        signature: Option<&Signature>,
        open: impl Fn() -> std::io::Result<R>,
    ) -> Result<Verified> {
        let Some((signature, url)) = signature else {
            return Ok(if self.demanded()?.is_some() {
                Verified::Digest
            } else {
                Verified::Checksum
            });
        };
        self.options
            .keyring
            .verify(signature, open, SystemTime::now())
            .map(|fingerprint| Verified::Signature { fingerprint })
            .map_err(|why| Error::BadSignature {
                url: url.clone(),
                why,
            })
    }
}

fn signature_path(release: &Release) -> String {
    format!("{}.asc", release.path)
}
