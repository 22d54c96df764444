#![allow(clippy::unwrap_used)]

use pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::packet::{Subpacket, SubpacketData};
use pgp::types::{Duration as PgpDuration, Password, SigningKey};
use rand::rngs::OsRng;

use super::*;

const ALPINE_FINGERPRINT: &str = "0482D84022F52DF1C4E7CD43293ACD0907D9495A";
const DATA: &[u8] = b"a tarball";

/// A key of a kind that signs over weak digests too.
fn make_old_key() -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Rsa(2048))
        .can_sign(true)
        .primary_user_id("Old <old@example.org>".into())
        .build()
        .unwrap()
        .generate(OsRng)
        .unwrap()
}

/// A key that may sign, with one subkey that may sign and one that may not.
fn make_key() -> SignedSecretKey {
    let subkey = |sign| {
        SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(sign)
            .can_encrypt(EncryptionCaps::None)
            .can_authenticate(!sign)
            .build()
            .unwrap()
    };
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .can_encrypt(EncryptionCaps::None)
        .primary_user_id("Test <test@example.org>".into())
        .subkeys(vec![subkey(true), subkey(false)])
        .build()
        .unwrap()
        .generate(OsRng)
        .unwrap()
}

fn public(key: &SignedSecretKey) -> Vec<u8> {
    SignedPublicKey::from(key.clone())
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
}

fn ring(key: &SignedSecretKey) -> Keyring {
    let mut ring = Keyring::alpine();
    ring.add("test.asc", &public(key)).unwrap();
    ring
}

fn sign(key: &impl SigningKey, hash: HashAlgorithm) -> Vec<u8> {
    DetachedSignature::sign_binary_data(OsRng, key, &Password::empty(), hash, DATA)
        .unwrap()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
}

fn verify(ring: &Keyring, signature: &[u8], data: &'static [u8]) -> Result<String, String> {
    ring.verify(signature, || Ok(data), SystemTime::now())
}

#[test]
fn the_built_in_key_is_alpines() {
    assert_eq!(Keyring::alpine().fingerprints(), [ALPINE_FINGERPRINT]);
}

#[test]
fn signatures_of_a_key_and_of_its_signing_subkey_hold() {
    let key = make_key();
    let ring = ring(&key);
    let id = ring.fingerprints()[1].clone();
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        assert_eq!(
            verify(&ring, &sign(&key.primary_key, hash), DATA),
            Ok(id.clone())
        );
    }
    let by_subkey = sign(&key.secret_subkeys[0].key, HashAlgorithm::Sha512);
    assert_eq!(verify(&ring, &by_subkey, DATA), Ok(id));
}

#[test]
fn other_bytes_other_keys_and_other_texts_are_refused() {
    let (key, old) = (make_key(), make_old_key());
    let mut ring = ring(&key);
    ring.add("old.asc", &public(&old)).unwrap();
    let good = sign(&key.primary_key, HashAlgorithm::Sha256);
    let foreign = sign(&make_key().primary_key, HashAlgorithm::Sha256);
    let weak = sign(&old.primary_key, HashAlgorithm::Sha1);
    let no_signer = sign(&key.secret_subkeys[1].key, HashAlgorithm::Sha256);
    for (signature, data, why) in [
        (&good[..], &b"another tarball"[..], "signed other bytes"),
        (&foreign, DATA, "which is not a trusted key"),
        (&weak, DATA, "which is too weak"),
        (&no_signer, DATA, "may not sign"),
        (b"<html>", DATA, "got an HTML page"),
        (b"", DATA, "signature"),
        (b"junk \x1b[31m", DATA, "not an OpenPGP signature"),
        (&good[..good.len() / 2], DATA, "not an OpenPGP signature"),
        (&public(&key), DATA, "signature"),
    ] {
        let error = verify(&ring, signature, data).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

#[test]
fn a_signature_holds_in_its_time_only() {
    let key = make_key();
    let ring = ring(&key);
    let good = sign(&key.primary_key, HashAlgorithm::Sha256);
    let days = |n: u64| Duration::from_secs(n * 24 * 60 * 60);
    let at = |signature: &[u8], now| ring.verify(signature, || Ok(DATA), now);
    let now = SystemTime::now();
    assert!(at(&good, now + days(3650)).is_ok());
    assert!(
        at(&good, now - days(3))
            .unwrap_err()
            .contains("in the future")
    );
    let config = pgp::composed::SubpacketConfig::UserDefined {
        hashed: vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now())).unwrap(),
            Subpacket::regular(SubpacketData::IssuerFingerprint(
                key.primary_key.fingerprint(),
            ))
            .unwrap(),
            Subpacket::regular(SubpacketData::SignatureExpirationTime(
                PgpDuration::from_secs(60),
            ))
            .unwrap(),
        ],
        unhashed: Vec::new(),
    };
    let short = DetachedSignature::sign_binary_data_with_subpackets(
        OsRng,
        &key.primary_key,
        &Password::empty(),
        HashAlgorithm::Sha256,
        DATA,
        config,
    );
    let short = short
        .unwrap()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap();
    assert!(at(&short, now).is_ok());
    assert!(
        at(&short, now + days(1))
            .unwrap_err()
            .contains("has expired")
    );
}

#[test]
fn files_without_a_usable_key_are_refused() {
    let key = make_key();
    let mut stripped = SignedPublicKey::from(key.clone());
    stripped.details.users.clear();
    let stripped = stripped.to_armored_bytes(ArmorOptions::default()).unwrap();
    let mut ring = Keyring::empty();
    for text in [
        &b""[..],
        b"no key",
        &sign(&key.primary_key, HashAlgorithm::Sha256),
        &stripped,
    ] {
        let error = ring.add("keys/x.asc", text).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot use the keys in keys/x.asc: "),
            "{error}"
        );
    }
    assert!(ring.fingerprints().is_empty());
}
