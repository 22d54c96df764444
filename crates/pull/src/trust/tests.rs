//! Signatures of one key of each kind, right and wrong in every way that a registry can serve.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_cache::{Digest, Verified};
use p256::ecdsa::signature::Signer;
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use serde_json::json;

use super::{Evidence, PublicKey, Signers, SigningKey, Subject};

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn p256(seed: u8) -> (PublicKey, Sign) {
    let key = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
    let public = public(key.verifying_key());
    let sign = move |message: &[u8]| {
        let signature: p256::ecdsa::Signature = key.sign(message);
        signature.to_der().as_bytes().to_vec()
    };
    (public, Box::new(sign))
}

/// P-384 with SHA-384, or, as cosign does, with SHA-256.
fn p384(as_cosign: bool) -> (PublicKey, Sign) {
    use p384::ecdsa::signature::hazmat::PrehashSigner;
    use sha2::Digest as _;
    let key = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let public = public(key.verifying_key());
    let sign = move |message: &[u8]| {
        let signature: p384::ecdsa::Signature = match as_cosign {
            true => key.sign_prehash(&sha2::Sha256::digest(message)).unwrap(),
            false => key.sign(message),
        };
        signature.to_der().as_bytes().to_vec()
    };
    (public, Box::new(sign))
}

fn ed25519(seed: u8) -> (PublicKey, Sign) {
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let public = public(&key.verifying_key());
    (
        public,
        Box::new(move |message: &[u8]| key.sign(message).to_bytes().to_vec()),
    )
}

fn public(key: &impl EncodePublicKey) -> PublicKey {
    PublicKey::from_pem(&key.to_public_key_pem(LineEnding::LF).unwrap()).unwrap()
}

fn all() -> Vec<(PublicKey, Sign)> {
    vec![p256(1), p384(false), p384(true), ed25519(1)]
}

/// A manifest, an index that lists it, and an index that lists that one.
struct Documents(BTreeMap<String, Vec<u8>>, [Digest; 3]);

impl Documents {
    fn new() -> Self {
        let manifest = br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec();
        let index = |of: &[u8]| {
            let document =
                json!({"schemaVersion": 2, "manifests": [{"digest": Digest::of(of).to_string()}]});
            document.to_string().into_bytes()
        };
        let inner = index(&manifest);
        let outer = index(&inner);
        let digests = [&manifest, &inner, &outer].map(|bytes| Digest::of(bytes));
        let named = [manifest, inner, outer].into_iter();
        Self(
            named
                .map(|bytes| (Digest::of(&bytes).to_string(), bytes))
                .collect(),
            digests,
        )
    }

    fn check(
        &self,
        evidence: &Evidence,
        keys: &[&PublicKey],
        name: &str,
    ) -> Result<Verified, String> {
        let signers = Signers {
            keys: keys.iter().map(|&key| key.clone()).collect(),
            signed_as: None,
        };
        evidence.check(
            &signers,
            &Subject {
                name: &name.parse().unwrap(),
                scope: "reg.io",
                manifest: self.1[0],
                document: &|digest| Ok(self.0.get(&digest.to_string()).cloned()),
            },
        )
    }
}

fn payload(name: &str, digest: &str) -> Vec<u8> {
    json!({"critical": {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }, "optional": {"by": "a test"}})
    .to_string()
    .into_bytes()
}

fn simple(sign: &Sign, payload: &[u8]) -> Evidence {
    Evidence::payload(payload, &STANDARD.encode(sign(payload))).unwrap()
}

fn envelope(sign: &Sign, kind: &str, statement: &serde_json::Value) -> serde_json::Value {
    let statement = statement.to_string();
    let message = format!(
        "DSSEv1 {} {kind} {} {statement}",
        kind.len(),
        statement.len()
    );
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement),
            "payloadType": kind,
            "signatures": [{"sig": STANDARD.encode(sign(message.as_bytes())), "keyid": ""}],
        },
    })
}

fn statement(digest: &Digest, predicate: &str) -> serde_json::Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": predicate,
        "predicate": {},
    })
}

const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const IN_TOTO: &str = "application/vnd.in-toto+json";

fn bundle(value: &serde_json::Value) -> Result<Evidence, String> {
    Evidence::bundle(value.to_string().as_bytes())
}

#[test]
fn every_kind_of_key_vouches_for_the_manifest_and_for_an_index_of_it() {
    let documents = Documents::new();
    for (key, sign) in all() {
        for digest in &documents.1 {
            let evidence = simple(&sign, &payload("reg.io/app", &digest.to_string()));
            // It is the same after it was kept.
            let evidence = Evidence::from_text(&evidence.to_text()).unwrap();
            let other = p256(9).0;
            let vouched = documents
                .check(&evidence, &[&other, &key], "reg.io/app:1")
                .unwrap();
            let Verified::Key {
                key: id, signed, ..
            } = vouched
            else {
                panic!("{vouched:?}")
            };
            assert_eq!((id.as_str(), signed), (key.id(), *digest));
        }
    }
}

#[test]
fn what_is_not_signed_by_the_key_does_not_count() {
    let documents = Documents::new();
    let digest = documents.1[0].to_string();
    for (key, sign) in all() {
        let good = payload("reg.io/app", &digest);
        let signature = STANDARD.encode(sign(&good));
        let mut changed = good.clone();
        let last = changed.len() - 4;
        changed[last] ^= 1;
        let half = STANDARD.encode(&sign(&good)[..30]);
        for (payload, signature, why) in [
            (changed.as_slice(), signature.as_str(), "no trusted key"),
            (&good, &half, "no trusted key"),
            (&good, "", "no trusted key"),
            (&good, "%%%", "base64"),
            (b"", &signature, "no trusted key"),
        ] {
            let evidence = Evidence::payload(payload, signature).unwrap();
            let refused = documents
                .check(&evidence, &[&key], "reg.io/app")
                .unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let evidence = Evidence::payload(&good, &signature).unwrap();
        for keys in [vec![], vec![p256(2).0], vec![ed25519(2).0]] {
            let keys: Vec<&PublicKey> = keys.iter().collect();
            let refused = documents.check(&evidence, &keys, "reg.io/app").unwrap_err();
            assert!(refused.contains("no trusted key"), "{refused}");
        }
    }
}

#[test]
fn a_good_signature_of_something_else_does_not_count() {
    let documents = Documents::new();
    let (key, sign) = p256(1);
    let own = documents.1[0].to_string();
    let other = Digest::of(b"another").to_string();
    for (name, digest, used, why) in [
        ("reg.io/app", other.as_str(), "reg.io/app", "another image"),
        ("reg.io/other", &own, "reg.io/app", "not as reg.io/app"),
        ("reg.io/app:1", &own, "reg.io/app:2", "not as reg.io/app:2"),
        ("reg.io/app\u{202e}", &own, "reg.io/app", "not a name"),
    ] {
        let evidence = simple(&sign, &payload(name, digest));
        let refused = documents.check(&evidence, &[&key], used).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert!(!refused.contains('\u{202e}'), "{refused}");
    }
}

#[test]
fn bundles_with_statements() {
    let documents = Documents::new();
    for (key, sign) in all() {
        for digest in &documents.1 {
            let good = envelope(&sign, IN_TOTO, &statement(digest, SIGN));
            let evidence = bundle(&good).unwrap();
            let evidence = Evidence::from_text(&evidence.to_text()).unwrap();
            assert!(!evidence.to_text().contains("tlogEntries"));
            documents.check(&evidence, &[&key], "reg.io/app:1").unwrap();
            let refused = documents
                .check(&evidence, &[&p256(2).0], "reg.io/app:1")
                .unwrap_err();
            assert!(refused.contains("no trusted key"), "{refused}");
        }
        let own = &documents.1[0];
        let slsa = statement(own, "https://slsa.dev/provenance/v1");
        let mut moved = envelope(&sign, IN_TOTO, &statement(own, SIGN));
        moved["dsseEnvelope"]["payload"] = STANDARD
            .encode(statement(own, SIGN).to_string().replace("{}", "{ }"))
            .into();
        let mut both = envelope(&sign, IN_TOTO, &statement(own, SIGN));
        both["messageSignature"] = json!({"signature": ""});
        for (value, why) in [
            (
                envelope(&sign, IN_TOTO, &statement(&Digest::of(b"x"), SIGN)),
                "another image",
            ),
            (
                envelope(&sign, IN_TOTO, &slsa),
                "a statement about the image",
            ),
            (
                envelope(&sign, "text/plain", &statement(own, SIGN)),
                "not a statement",
            ),
            (
                envelope(&sign, IN_TOTO, &json!({"_type": "x"})),
                "malformed",
            ),
            (moved, "no trusted key"),
            (both, "either"),
        ] {
            let evidence = bundle(&value).unwrap();
            let refused = documents
                .check(&evidence, &[&key], "reg.io/app")
                .unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}

#[test]
fn bundles_with_message_signatures() {
    let documents = Documents::new();
    for (key, sign) in all() {
        for digest in &documents.1 {
            let document = &documents.0[&digest.to_string()];
            let make = |stated: &Digest, algorithm: &str, signed: &[u8]| {
                bundle(&json!({
                    "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
                    "messageSignature": {
                        "messageDigest": {"algorithm": algorithm, "digest": STANDARD.encode(stated.as_bytes())},
                        "signature": STANDARD.encode(sign(signed)),
                    },
                }))
                .unwrap()
            };
            let good = make(digest, "SHA2_256", document);
            documents.check(&good, &[&key], "reg.io/app").unwrap();
            for (evidence, why) in [
                (make(digest, "SHA2_256", b"other"), "no trusted key"),
                (
                    make(&Digest::of(b"other"), "SHA2_256", document),
                    "another image",
                ),
                (make(digest, "SHA2_512", document), "SHA2_512"),
            ] {
                let refused = documents
                    .check(&evidence, &[&key], "reg.io/app")
                    .unwrap_err();
                assert!(refused.contains(why), "{refused}");
            }
        }
    }
}

#[test]
fn what_is_no_bundle_or_too_large_is_refused() {
    for (text, why) in [
        ("", "malformed"),
        ("{}", "malformed"),
        ("[]", "malformed"),
        (r#"{"mediaType":"text/plain"}"#, "not a bundle"),
    ] {
        let refused = Evidence::bundle(text.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    assert!(
        Evidence::payload(&[b' '; 20 << 10], "")
            .unwrap_err()
            .contains("bytes")
    );
}

#[test]
fn keys_are_refused_in_words() {
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|l| std::str::from_utf8(l).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    };
    for (text, why) in [
        ("hello".to_owned(), "not a public key in PEM form"),
        (pem("PRIVATE KEY", b"x"), "it is a private key"),
        (pem("PUBLIC KEY", b"x").repeat(2), "several keys"),
        (pem("CERTIFICATE", &[0x30, 0]), "expected a PUBLIC KEY"),
        // An Ed25519 key of small order, for which anybody can sign.
        (
            pem(
                "PUBLIC KEY",
                &[
                    &[
                        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00, 1,
                    ][..],
                    &[0; 31],
                ]
                .concat(),
            ),
            "weak",
        ),
    ] {
        let refused = PublicKey::from_pem(&text).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn what_a_signing_key_writes_counts() {
    let documents = Documents::new();
    let name = "reg.io/app:1".parse().unwrap();
    let p256 = p256::SecretKey::from_slice(&[3; 32]).unwrap();
    let ed25519 = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
    let mut existing: Option<Vec<u8>> = None;
    for pem in [
        p256.to_pkcs8_pem(LineEnding::LF).unwrap(),
        p256.to_sec1_pem(LineEnding::LF).unwrap(),
        ed25519.to_pkcs8_pem(LineEnding::LF).unwrap(),
    ] {
        let key = SigningKey::from_pem(&pem, "").unwrap();
        assert!(!format!("{key:?}").contains("BEGIN"));
        let made = key
            .sign(&name, &documents.1[0], existing.as_deref())
            .unwrap();
        assert_eq!(made.tag, format!("sha256-{}.sig", documents.1[0].hex()));
        let manifest: serde_json::Value = serde_json::from_slice(&made.manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let layer = layers.last().unwrap();
        assert_eq!(layer["digest"], Digest::of(&made.blobs[0]).to_string());
        assert_eq!(
            manifest["config"]["digest"],
            Digest::of(&made.blobs[1]).to_string()
        );
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
            .as_str()
            .unwrap();
        let evidence = Evidence::payload(&made.blobs[0], signature).unwrap();
        documents
            .check(&evidence, &[key.public()], "reg.io/app:1")
            .unwrap();
        existing = Some(made.manifest);
    }
    // The same key twice is one signature; another key is another.
    let manifest: serde_json::Value = serde_json::from_slice(&existing.unwrap()).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// Whatever is changed in a kept signature: it still vouches for the same image, or for none.
    #[test]
    fn changed_evidence_vouches_for_nothing_else(at in 0usize..2000, byte in 0u8..=255, is_bundle: bool) {
        let documents = Documents::new();
        let (key, sign) = ed25519(1);
        let digest = &documents.1[1];
        let evidence = match is_bundle {
            true => bundle(&envelope(&sign, IN_TOTO, &statement(digest, SIGN))).unwrap(),
            false => simple(&sign, &payload("reg.io/app", &digest.to_string())),
        };
        let mut text = evidence.to_text().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(evidence) = Evidence::from_text(&String::from_utf8_lossy(&text))
            && let Ok(Verified::Key { key: id, signed, .. }) = documents.check(&evidence, &[&key], "reg.io/app")
        {
            assert_eq!((id.as_str(), signed), (key.id(), *digest));
        }
    }

    /// Any text is a scope or is refused in words, and a scope that is a repository covers itself alone.
    #[test]
    fn any_text_as_a_scope(text in "[a-zA-Z0-9.:/@*\\[\\]-]{0,24}") {
        let mut policy = super::Policy::default();
        match policy.add(&text, super::Rule::Reject) {
            Err(why) => assert!(!why.is_empty()),
            Ok(()) => {
                for name in [format!("{text}/x"), text.clone()] {
                    if let Ok(name) = name.parse()
                        && text.contains('/')
                        && !text.starts_with("docker.io/")
                        && !text.ends_with('/')
                    {
                        assert!(policy.permits(&name).is_err(), "{text} {name}");
                    }
                }
                assert!(policy.permits(&"other.example/x".parse().unwrap()).is_ok() || !text.contains('/'));
            }
        }
    }
}
