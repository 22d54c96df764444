//! Whether the policy lets an image be used. Asked whenever it is used, however it came into the cache.

use std::fmt;
use std::io::Read;

use box_cache::{Cache, Digest, Image, Reference, Verified};

use super::{Evidence, Policy, Rule, Signers, Subject};
use crate::signature::{Keyring, VerifyPolicy};

/// The largest manifest or index that is read, in bytes: what registries accept.
const DOCUMENT: u64 = 4 << 20;

/// Why an image may not be used, as part of a sentence that begins with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The policy refuses all images of a scope.
    Rejected {
        /// The scope.
        scope: String,
    },
    /// The rule of a scope cannot be applied.
    Unusable {
        /// The scope.
        scope: String,
        /// Why.
        why: String,
    },
    /// The policy demands a signature that the image does not have.
    NotSigned {
        /// The scope.
        scope: String,
        /// What there is instead.
        why: String,
    },
    /// A trusted publisher's signature is required, and there is none.
    NoPublisher,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { scope } => write!(f, "the policy for {scope:?} rejects it"),
            Self::Unusable { scope, why } => {
                write!(f, "the policy for {scope:?} cannot be applied: {why}")
            }
            Self::NotSigned { scope, why } => {
                write!(f, "the policy for {scope:?} demands a signature, and {why}")
            }
            Self::NoPublisher => f.write_str("a trusted publisher's signature is required"),
        }
    }
}

impl Policy {
    /// Whether the rule for a name permits images at all, before anything is known about them.
    pub fn permits(&self, name: &Reference) -> Result<(), Refusal> {
        match self.rule(name) {
            (scope, Rule::Reject) => Err(Refusal::Rejected {
                scope: scope.to_owned(),
            }),
            (scope, Rule::Unusable(why)) => Err(Refusal::Unusable {
                scope: scope.to_owned(),
                why: why.clone(),
            }),
            (_, Rule::Accept | Rule::SignedBy(_)) => Ok(()),
        }
    }

    /// What `--verify` amounts to for a name: for Alpine's own releases, a rule that demands signatures means those by OpenPGP.
    pub fn verify(&self, name: &Reference, verify: VerifyPolicy) -> VerifyPolicy {
        match name.is_own() && self.signers(name).is_some() {
            true => VerifyPolicy::Require,
            false => verify,
        }
    }

    /// Judges an image of the cache under the name that it is listed under. A signature that was kept with it is checked again,
    /// with the keys of today; an OpenPGP signature counts as the cache has recorded it.
    pub fn judge(
        &self,
        verify: VerifyPolicy,
        keyring: &Keyring,
        cache: &Cache,
        image: &Image,
    ) -> Result<(), Refusal> {
        let name = &image.reference;
        self.permits(name)?;
        if let (scope, Rule::SignedBy(signers)) = self.rule(name)
            && !name.is_own()
        {
            let kept = kept(cache, image, scope, signers);
            return kept.map(drop).map_err(|why| Refusal::NotSigned {
                scope: scope.to_owned(),
                why,
            });
        }
        match self
            .verify(name, verify)
            .admits(&image.provenance.verified, keyring)
        {
            true => Ok(()),
            false => Err(Refusal::NoPublisher),
        }
    }
}

/// Checks the signature that was kept with an image.
fn kept(cache: &Cache, image: &Image, scope: &str, signers: &Signers) -> Result<Verified, String> {
    let Verified::Key { evidence, .. } = &image.provenance.verified else {
        return Err("the cache has none".to_owned());
    };
    let evidence = Evidence::from_text(evidence)
        .map_err(|why| format!("the one in the cache is damaged: {why}"))?;
    let subject = Subject {
        name: &image.reference,
        scope,
        manifest: image.manifest_digest,
        document: &|digest| document(cache, digest),
    };
    evidence
        .check(signers, &subject)
        .map_err(|why| format!("the one in the cache does not count: {why}"))
}

/// A manifest or index of the cache, compared with its digest.
fn document(cache: &Cache, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
    match cache.has_blob(digest) {
        Ok(Some(size)) if size <= DOCUMENT => {}
        Ok(_) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    }
    let mut bytes = Vec::new();
    let mut reader = cache.open_blob(digest).map_err(|error| error.to_string())?;
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    reader.finish().map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}
