//! Detached OpenPGP signatures (RFC 9580, section 10.4) and the keys that are trusted to make them.
//!
//! There is no key server and no web of trust: a key is trusted if it is built in, or if the user added it.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{RevocationCode, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

use box_cache::Verified;
use box_transfer::{Printable, with_causes};

use crate::error::{Error, Result};

/// The key that signs Alpine's releases: Natanael Copa, `0482D84022F52DF1C4E7CD43293ACD0907D9495A`.
const ALPINE: &str = include_str!("keys/alpine-release.asc");

/// Most signatures checked in one file; there is no reason for more.
const MOST_SIGNATURES: usize = 4;

/// How far the signer's clock may be ahead of the local one.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// When an image needs a publisher's signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyPolicy {
    /// Check the signature if a mirror has one. Otherwise checksums suffice, and a note says so.
    #[default]
    Prefer,
    /// Refuse an image without a valid signature.
    Require,
    /// Ignore signatures.
    Off,
}

impl VerifyPolicy {
    /// Whether an image that was verified like this may be used. If a signature is required, nothing less suffices, and its
    /// key must still be trusted.
    pub fn admits(self, verified: &Verified, keyring: &Keyring) -> bool {
        match (self, verified) {
            (Self::Require, Verified::Signature { fingerprint }) => {
                keyring.fingerprints().contains(fingerprint)
            }
            (Self::Require, _) => false,
            (Self::Prefer | Self::Off, _) => true,
        }
    }
}

impl std::str::FromStr for VerifyPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "off" => Ok(Self::Off),
            _ => Err("expected prefer, require or off".to_owned()),
        }
    }
}

/// Keys that are trusted to sign images.
#[derive(Clone)]
pub struct Keyring(Vec<SignedPublicKey>);

impl Keyring {
    /// No keys: every signature is by an unknown key.
    pub fn empty() -> Self {
        Self(Vec::new())
    }

    /// The key of Alpine's releases.
    pub fn alpine() -> Self {
        let mut ring = Self::empty();
        ring.add("the built-in key", ALPINE.as_bytes())
            .expect("the built-in key is checked by a test");
        ring
    }

    /// Adds the keys in `text`, armored (`-----BEGIN PGP PUBLIC KEY BLOCK-----`) or binary. `name` is for messages.
    pub fn add(&mut self, name: &str, text: &[u8]) -> Result<()> {
        let unusable = |why: String| Error::Key {
            name: name.to_owned(),
            why,
        };
        let (keys, _) =
            SignedPublicKey::from_reader_many(text).map_err(|e| unusable(with_causes(&e)))?;
        let before = self.0.len();
        for key in keys {
            let key = key.map_err(|e| unusable(with_causes(&e)))?;
            // A key without a self-signature cannot sign anything: see `Binding::of`.
            let id = fingerprint(&key);
            Binding::of(&key)
                .ok_or_else(|| unusable(format!("{id} has no valid self-signature")))?;
            self.0.push(key);
        }
        match self.0.len() > before {
            true => Ok(()),
            false => Err(unusable("it holds no OpenPGP key".to_owned())),
        }
    }

    /// Fingerprints of the keys, in upper-case hexadecimal digits.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(fingerprint).collect()
    }

    /// Checks the detached signature in `signature`, armored or binary, of the bytes that `open` returns from the start
    /// each time it is called. Returns the fingerprint of the signing key, or why the signature is not valid.
    pub(crate) fn verify<R: Read>(
        &self,
        signature: &[u8],
        open: impl Fn() -> io::Result<R>,
        now: SystemTime,
    ) -> Result<String, String> {
        if signature.trim_ascii_start().starts_with(b"<") {
            return Err("expected an OpenPGP signature, got an HTML page".to_owned());
        }
        let not_one =
            |e: pgp::errors::Error| format!("not an OpenPGP signature: {}", with_causes(&e));
        let (parsed, _) = DetachedSignature::from_reader_many(signature).map_err(not_one)?;
        let mut strangers = Vec::new();
        for (n, parsed) in parsed.enumerate() {
            if n == MOST_SIGNATURES {
                break;
            }
            let signature = parsed.map_err(not_one)?.signature;
            let Some((key, signer)) = self.signer_of(&signature) else {
                strangers.push(issuer(&signature));
                continue;
            };
            check_terms(&signature, key, &signer, now)?;
            let data = open().map_err(|e| box_cache::Reason(&e).to_string())?;
            let checked = match signer {
                Signer::Primary => signature.verify(&key.primary_key, data),
                Signer::Subkey(subkey) => signature.verify(&subkey.key, data),
            };
            let id = fingerprint(key);
            // The library's reason names its internals. All of them mean that other bytes were signed.
            checked.map_err(|_| format!("{id} signed other bytes"))?;
            return Ok(id);
        }
        Err(match strangers.as_slice() {
            [] => "it holds no OpenPGP signature".to_owned(),
            ids => format!(
                "it was made by {}, which is not a trusted key",
                ids.join(", ")
            ),
        })
    }

    /// The trusted key that claims to have made a signature, itself or through one of its subkeys.
    fn signer_of(&self, signature: &Signature) -> Option<(&SignedPublicKey, Signer<'_>)> {
        self.0.iter().find_map(|key| {
            if is_issuer(signature, &key.primary_key) {
                return Some((key, Signer::Primary));
            }
            let subkey = key
                .public_subkeys
                .iter()
                .find(|s| is_issuer(signature, &s.key))?;
            Some((key, Signer::Subkey(subkey)))
        })
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.fingerprints()).finish()
    }
}

enum Signer<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

/// The properties of a key, by its newest valid self-signature (RFC 9580, section 5.2.3.10).
struct Binding {
    made: Timestamp,
    may_sign: bool,
    expires: Option<SystemTime>,
}

impl Binding {
    fn of(key: &SignedPublicKey) -> Option<Self> {
        let primary = &key.primary_key;
        let certifications = key.details.users.iter().flat_map(|user| {
            user.signatures.iter().filter(|s| {
                is_issuer(s, primary)
                    && s.typ() != Some(SignatureType::CertRevocation)
                    && s.verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            })
        });
        let direct = key
            .details
            .direct_signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::Key) && s.verify_key(primary).is_ok());
        let newest = certifications.chain(direct).max_by_key(|s| s.created())?;
        Self::by(newest, primary.created_at())
    }

    fn of_subkey(subkey: &SignedPublicSubKey, key: &SignedPublicKey) -> Option<Self> {
        let valid = |s: &&Signature| {
            s.typ() == Some(SignatureType::SubkeyBinding)
                && s.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok()
                // Without the signature in return, anyone could claim the signing key of another as their own subkey.
                && s.embedded_signature().is_some_and(|back| {
                    back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok()
                })
        };
        let newest = subkey
            .signatures
            .iter()
            .filter(valid)
            .max_by_key(|s| s.created())?;
        Self::by(newest, subkey.key.created_at())
    }

    fn by(signature: &Signature, key_made: Timestamp) -> Option<Self> {
        let lifetime = signature.key_expiration_time().filter(|t| t.as_secs() > 0);
        Some(Self {
            made: key_made,
            may_sign: signature.key_flags().sign(),
            expires: lifetime
                .map(|t| SystemTime::from(key_made) + Duration::from_secs(t.as_secs().into())),
        })
    }
}

/// Checks all of a signature but its cryptography: type, strength, time, and what its key may do.
fn check_terms(
    signature: &Signature,
    key: &SignedPublicKey,
    signer: &Signer<'_>,
    now: SystemTime,
) -> Result<(), String> {
    let id = fingerprint(key);
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(format!(
            "it is not the signature of a file, but of type {:?}",
            signature.typ()
        ));
    }
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => {}
        other => {
            let name = other.map_or_else(|| "an unknown hash".to_owned(), |h| h.to_string());
            return Err(format!("it uses {name}, which is too weak"));
        }
    }
    let made = signature.created().ok_or("it has no date")?;
    let made_at = SystemTime::from(made);
    if made_at > now + CLOCK_SKEW {
        return Err("it was made in the future; is the clock right?".to_owned());
    }
    let lifetime = signature
        .signature_expiration_time()
        .filter(|t| t.as_secs() > 0);
    if lifetime.is_some_and(|t| made_at + Duration::from_secs(t.as_secs().into()) < now) {
        return Err("it has expired".to_owned());
    }
    if is_revoked(key, signer, made) {
        return Err(format!("the key {id} was revoked"));
    }
    let primary = Binding::of(key).ok_or_else(|| format!("the key {id} has no self-signature"))?;
    let own = match signer {
        Signer::Primary => Some(primary),
        Signer::Subkey(subkey) => Binding::of_subkey(subkey, key),
    };
    let own = own.filter(|b| b.may_sign);
    let own = own.ok_or_else(|| format!("the subkey of {id} that made it may not sign"))?;
    if made < own.made || own.expires.is_some_and(|end| made_at > end) {
        return Err(format!("the key {id} was not valid when it was made"));
    }
    Ok(())
}

/// Whether the signing key was revoked: for any reason, or before the signature if it was only retired or superseded.
fn is_revoked(key: &SignedPublicKey, signer: &Signer<'_>, made: Timestamp) -> bool {
    let primary = &key.primary_key;
    let counts = |s: &Signature| {
        let retired = matches!(
            s.revocation_reason_code(),
            Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired)
        );
        !retired || s.created().is_none_or(|revoked| revoked <= made)
    };
    let of_key = key
        .details
        .revocation_signatures
        .iter()
        .any(|s| counts(s) && s.verify_key(primary).is_ok());
    let of_subkey = match signer {
        Signer::Primary => false,
        Signer::Subkey(subkey) => subkey.signatures.iter().any(|s| {
            s.typ() == Some(SignatureType::SubkeyRevocation)
                && counts(s)
                && s.verify_subkey_binding(primary, &subkey.key).is_ok()
        }),
    };
    of_key || of_subkey
}

fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

/// The key that a signature names as its maker.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|f| format!("{f:X}"));
    let id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|id| id.to_string().to_uppercase())
    };
    let maker = fingerprint
        .or_else(id)
        .unwrap_or_else(|| "an unknown key".to_owned());
    Printable::new(&maker).to_string()
}

fn fingerprint(key: &SignedPublicKey) -> String {
    format!("{:X}", key.primary_key.fingerprint())
}

#[cfg(test)]
mod tests;
