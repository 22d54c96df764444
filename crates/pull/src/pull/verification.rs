//! Publishers' signatures: fetching them, and checking bytes against them.

use std::io::Read;
use std::time::SystemTime;

use box_cache::{Digest, Verified};
use box_registry::RepositoryName;
use box_transfer::{Attempts, Cause};

use super::Pull;
use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::resolved::{Resolved, Sidecar};
use crate::signature::{Keyring, VerifyPolicy};
use crate::trust::{Refusal, Rule, Subject, search};

/// Largest signature file that is read, in bytes.
const SIGNATURE_LIMIT: u64 = 64 << 10;

/// A detached signature that was not checked yet.
pub(super) struct Signature {
    bytes: Vec<u8>,
    url: String,
}

impl Signature {
    /// Checks the signature of the bytes that `open` returns from the start each time it is called.
    pub fn verify<R: Read>(
        &self,
        keyring: &Keyring,
        open: impl Fn() -> std::io::Result<R>,
    ) -> Result<Verified> {
        keyring
            .verify(&self.bytes, open, SystemTime::now())
            .map(|fingerprint| Verified::Signature { fingerprint })
            .map_err(|why| Error::BadSignature {
                url: self.url.clone(),
                why,
            })
    }
}

impl Pull<'_> {
    /// Finds the signature that the policy demands of an image of a registry, before any layer is fetched.
    pub(super) fn vouch(&self, remote: &Remote<'_>, resolved: &mut Resolved) -> Result<()> {
        let Some(served) = &resolved.served else {
            return Ok(());
        };
        let refused = |refusal| Error::Refused {
            reference: self.reference.to_string(),
            refusal,
        };
        let (scope, rule) = self.options.policy.rule(self.reference);
        let (Rule::SignedBy(signers), Some(name)) = (rule, RepositoryName::of(self.reference))
        else {
            return match self.options.verify {
                VerifyPolicy::Require => Err(refused(Refusal::NoPublisher)),
                VerifyPolicy::Prefer | VerifyPolicy::Off => Ok(()),
            };
        };
        let indexes = served.indexes.iter().map(|index| &**index);
        let documents = indexes.chain([&served.manifest]);
        let documents: Vec<(Digest, &Vec<u8>)> =
            documents.map(|bytes| (Digest::of(bytes), bytes)).collect();
        let subject = Subject {
            name: &self.listed_as(resolved),
            scope,
            manifest: served.digest,
            document: &|digest| {
                let found = documents.iter().find(|(other, _)| other == digest);
                Ok(found.map(|(_, bytes)| (*bytes).clone()))
            },
        };
        let digests: Vec<Digest> = documents.iter().map(|(digest, _)| *digest).collect();
        let repository = remote.registry.repository(&name)?;
        let found = search::find(&repository, signers, &subject, &digests);
        resolved.proof.digests = found.map_err(|why| {
            refused(Refusal::NotSigned {
                scope: scope.to_owned(),
                why,
            })
        })?;
        Ok(())
    }

    /// The signature of a release, by the policy. It is fetched before the layers, so that none is fetched in vain.
    pub(super) fn signature(
        &self,
        remote: &Remote<'_>,
        resolved: &Resolved,
    ) -> Result<Option<Signature>> {
        // Images of registries have signatures of another kind.
        if self.options.verify == VerifyPolicy::Off || resolved.served.is_some() {
            return Ok(None);
        }
        let attempts = match &resolved.proof.signature {
            None => Attempts::default(),
            Some(sidecar) => match served(remote, sidecar)? {
                Ok(signature) => return Ok(Some(signature)),
                Err(attempts) if !attempts.has_absent() => {
                    return Err(Error::Unreachable {
                        what: sidecar.name.clone(),
                        attempts,
                    });
                }
                Err(attempts) => attempts,
            },
        };
        if self.options.verify == VerifyPolicy::Require {
            let layers = resolved.layers.iter().map(|layer| layer.name.as_str());
            return Err(Error::NotSigned {
                what: layers.collect::<Vec<_>>().join(", "),
                attempts,
            });
        }
        self.note(&format!(
            "{} {} is not signed (yet): only its checksums vouch for it",
            self.reference, resolved.version
        ));
        Ok(None)
    }
}

/// The signature as the first location that has it serves it.
pub(super) fn served(
    remote: &Remote<'_>,
    sidecar: &Sidecar,
) -> Result<Result<Signature, Attempts>> {
    let fetcher = &remote.mirrors.fetcher;
    let got = fetcher.document(&sidecar.locations, SIGNATURE_LIMIT, |bytes| {
        Ok::<_, Cause>(bytes.to_vec())
    })?;
    Ok(got.map(|(bytes, url)| Signature { bytes, url }))
}
