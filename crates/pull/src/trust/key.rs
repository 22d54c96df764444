//! Public keys that sign images.

use std::fmt;

use box_cache::Digest;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::pkcs8::{DecodePublicKey, Document, EncodePublicKey};
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use sha2::{Digest as _, Sha256, Sha384};

/// The fewest bits of an RSA key that is accepted.
const RSA_BITS: usize = 2048;

/// A key that is trusted to sign images: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits.
#[derive(Clone)]
pub struct PublicKey {
    key: Key,
    id: String,
}

#[derive(Clone)]
enum Key {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
    Rsa(rsa::RsaPublicKey),
}

impl PublicKey {
    /// Reads one key in PEM form (`-----BEGIN PUBLIC KEY-----`, a SubjectPublicKeyInfo, RFC 5280).
    ///
    /// # Errors
    /// Why it is not usable, as part of a sentence.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("PRIVATE KEY-----") {
            return Err("it is a private key; its public key is needed here".to_owned());
        }
        if text.matches("-----BEGIN ").count() > 1 {
            return Err("it holds several keys; give each a file of its own".to_owned());
        }
        let (label, document) = Document::from_pem(text)
            .map_err(|error| format!("it is not a public key in PEM form ({error})"))?;
        if label != "PUBLIC KEY" {
            return Err(format!("it holds a {label}, expected a PUBLIC KEY"));
        }
        let der = document.as_bytes();
        let id = Digest::of(der).hex();
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(der) {
            return Ok(Self {
                key: Key::P256(key),
                id,
            });
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(der) {
            return Ok(Self {
                key: Key::P384(key),
                id,
            });
        }
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            return match key.is_weak() {
                true => Err("it is a weak Ed25519 key, which accepts forged signatures".to_owned()),
                false => Ok(Self {
                    key: Key::Ed25519(key),
                    id,
                }),
            };
        }
        match rsa::RsaPublicKey::from_public_key_der(der) {
            Ok(key) if key.n().bits() < RSA_BITS => Err(format!(
                "its {} bits are too few; RSA keys have at least {RSA_BITS}",
                key.n().bits()
            )),
            Ok(key) => Ok(Self {
                key: Key::Rsa(key),
                id,
            }),
            Err(_) => Err(
                "it is none of ECDSA P-256, ECDSA P-384, Ed25519 and RSA (2048 to 4096 bits)"
                    .to_owned(),
            ),
        }
    }

    /// What names the key: the SHA-256 digest of its SubjectPublicKeyInfo in DER form, in hexadecimal digits. The same as
    /// `openssl pkey -pubin -outform DER | sha256sum`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature` is this key's signature of `message`. ECDSA signatures are in DER form.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::P256(key) => {
                let Ok(signature) = p256::ecdsa::Signature::from_der(signature) else {
                    return false;
                };
                key.verify_prehash(&Sha256::digest(message), &signature)
                    .is_ok()
            }
            // cosign hashes with SHA-256 for every curve; other signers use the hash of the curve's size.
            Key::P384(key) => {
                let Ok(signature) = p384::ecdsa::Signature::from_der(signature) else {
                    return false;
                };
                key.verify_prehash(&Sha256::digest(message), &signature)
                    .is_ok()
                    || key
                        .verify_prehash(&Sha384::digest(message), &signature)
                        .is_ok()
            }
            Key::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature);
                signature.is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
            Key::Rsa(key) => signed_by_rsa(key, message, signature),
        }
    }

    /// The key of a private one.
    pub(super) fn of(key: &impl EncodePublicKey) -> Result<Self, String> {
        let document = key.to_public_key_der().map_err(|error| error.to_string())?;
        let pem = document.to_pem("PUBLIC KEY", p256::pkcs8::LineEnding::LF);
        Self::from_pem(&pem.map_err(|error| error.to_string())?)
    }
}

/// cosign's RSA signatures are PKCS #1 v1.5; newer signers use PSS.
fn signed_by_rsa(key: &rsa::RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
    let pkcs1 = rsa::pkcs1v15::VerifyingKey::<rsa::sha2::Sha256>::new(key.clone());
    let pss = rsa::pss::VerifyingKey::<rsa::sha2::Sha256>::new(key.clone());
    rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|s| pkcs1.verify(message, &s).is_ok())
        || rsa::pss::Signature::try_from(signature).is_ok_and(|s| pss.verify(message, &s).is_ok())
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}
