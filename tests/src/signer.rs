//! A publisher: an OpenPGP key made for one test, and signatures by it.

use std::path::Path;

use pgp::composed::{
    ArmorOptions, DetachedSignature, EncryptionCaps, KeyType, SecretKeyParamsBuilder,
    SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password};
use rand::rngs::OsRng;

/// A key that signs files.
pub struct Signer(SignedSecretKey);

impl Signer {
    /// A new key.
    pub fn new() -> Self {
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .primary_user_id("Publisher <publisher@example.org>".into())
            .build()
            .expect("the parameters are complete");
        Self(key.generate(OsRng).expect("a key can be made"))
    }

    /// The key's fingerprint, in upper-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.0.primary_key.fingerprint())
    }

    /// Writes the public key into a directory, for `trusted-keys`.
    pub fn trust_in(&self, dir: &Path) {
        std::fs::create_dir_all(dir).expect("the test's directory is writable");
        let text = SignedPublicKey::from(self.0.clone())
            .to_armored_string(ArmorOptions::default())
            .expect("a key can be written");
        std::fs::write(dir.join("publisher.asc"), text).expect("the test's directory is writable");
    }

    /// An armored detached signature of some bytes.
    pub fn sign(&self, bytes: &[u8]) -> String {
        let (key, hash) = (&self.0.primary_key, HashAlgorithm::Sha512);
        DetachedSignature::sign_binary_data(OsRng, key, &Password::empty(), hash, bytes)
            .and_then(|signature| signature.to_armored_string(ArmorOptions::default()))
            .expect("bytes can be signed")
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}
