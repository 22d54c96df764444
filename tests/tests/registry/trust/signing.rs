//! What box signs when it pushes. openssl checks it: the skopeo and podman of Debian are built without such signatures.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_tests::registry::Registry;
use box_tests::{Home, Outcome};
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde_json::{Value, json};

use super::cosign::{self, Key};
use super::{image, policy, signed_by};

/// A key as `cosign generate-key-pair` writes it.
fn encrypted(key: &Key, passphrase: &str) -> std::path::PathBuf {
    let mut command = Command::new("openssl");
    command.args(["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in"]);
    let der = Outcome::of(
        {
            command.arg(&key.private);
            command
        },
        b"",
    )
    .succeeds()
    .stdout;
    let mut derived = [0; 32];
    let params = scrypt::Params::new(15, 8, 1, 32).unwrap();
    scrypt::scrypt(passphrase.as_bytes(), b"salt", &params, &mut derived).unwrap();
    let sealed = XSalsa20Poly1305::new(&derived.into());
    let sealed = sealed
        .encrypt(&Nonce::from([7; 24]), der.as_slice())
        .unwrap();
    let document = json!({
        "kdf": {"name": "scrypt", "params": {"N": 1 << 15, "r": 8, "p": 1}, "salt": STANDARD.encode("salt")},
        "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode([7; 24])},
        "ciphertext": STANDARD.encode(sealed),
    });
    let text = STANDARD.encode(document.to_string());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|l| std::str::from_utf8(l).unwrap())
        .collect();
    let label = "ENCRYPTED COSIGN PRIVATE KEY";
    let file = key.private.with_extension("cosign");
    let pem = format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    );
    std::fs::write(&file, pem).unwrap();
    file
}

/// The names for which openssl finds a good signature by a key among those of a digest.
fn verified(home: &Home, registry: &Registry, digest: &str, key: &Key) -> Vec<String> {
    let manifest = registry.manifest("app", &cosign::tag(digest)).unwrap();
    assert_eq!(registry.missing("app", &cosign::tag(digest)), [""; 0]);
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut names = Vec::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let payload = registry
            .blob("app", layer["digest"].as_str().unwrap())
            .unwrap();
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
            .as_str()
            .unwrap();
        let (signed, message) = (home.path().join("signature"), home.path().join("message"));
        std::fs::write(&signed, STANDARD.decode(signature).unwrap()).unwrap();
        std::fs::write(&message, &payload).unwrap();
        let mut openssl = Command::new("openssl");
        openssl
            .args(["dgst", "-sha256", "-verify"])
            .arg(&key.public);
        openssl.arg("-signature").arg(&signed).arg(&message);
        if Outcome::of(openssl, b"").status == 0 {
            let payload: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(
                payload["critical"]["image"]["docker-manifest-digest"],
                digest
            );
            assert_eq!(
                payload["critical"]["type"],
                "cosign container image signature"
            );
            let name = &payload["critical"]["identity"]["docker-reference"];
            names.push(name.as_str().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn a_push_signs_as_cosign_does() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let other = Key::p256(home.path(), "other");
    let image = image("app");
    registry.put("app", "1", &image);
    let reference = registry.reference("app:1");
    home.run(["pull", &reference]).succeeds();
    let sign = |file: &std::path::Path, name: &str, passphrase: Option<&str>| {
        let mut push = home.command([
            "push",
            "--sign-by",
            file.to_str().unwrap(),
            &reference,
            name,
        ]);
        push.envs(passphrase.map(|text| ("COSIGN_PASSWORD", text)));
        Outcome::of(push, b"")
    };
    sign(&other.private, &reference, None).succeeds();
    for _ in 0..2 {
        let said = sign(&key.private, &reference, None).succeeds();
        let by = format!("signed by key {}", &key.id()[..16]);
        assert!(said.text().contains(&by), "{}", said.text());
    }
    let digest = image.digest();
    assert_eq!(
        verified(&home, &registry, &digest, &key),
        [reference.as_str()]
    );
    assert_eq!(
        verified(&home, &registry, &digest, &other),
        [reference.as_str()]
    );
    // box itself accepts it, for the tag that was signed only.
    policy(&home, &signed_by(registry.host(), &key));
    home.run(["pull", &reference]).succeeds();
    let second = registry.reference("app:2");
    registry.put("app", "2", &image);
    home.run(["pull", &second]).fails(&["app:1, not as"]);
    // With a key that cosign encrypted, and its passphrase.
    let file = encrypted(&key, "secret");
    sign(&file, &second, Some("wrong")).fails(&["the passphrase is wrong"]);
    sign(&file, &second, Some("secret")).succeeds();
    home.run(["pull", &second]).succeeds();
    assert_eq!(
        verified(&home, &registry, &digest, &key),
        [reference.as_str(), &second]
    );
    // Nothing is pushed with a key that cannot sign.
    let words = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    let rsa = Key::new(home.path(), "rsa", words);
    let third = registry.reference("app:3");
    sign(&rsa.private, &third, None).fails(&["neither an ECDSA key"]);
    assert!(registry.manifest("app", "3").is_none());
}
