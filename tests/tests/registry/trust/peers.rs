//! What box signs, skopeo accepts, and the reverse.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_tests::registry::Registry;
use box_tests::{Home, Outcome};
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde_json::json;

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

/// skopeo that demands the signature of a key under the name that it asks for.
fn skopeo(dir: &Path, key: &Key, args: &[&str]) -> Outcome {
    let settings = dir.join("registries.d");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(
        settings.join("default.yaml"),
        "default-docker:\n  use-sigstore-attachments: true\n",
    )
    .unwrap();
    let rule = json!({"type": "sigstoreSigned", "keyPath": key.public});
    let rules = json!({"default": [{"type": "reject"}], "transports": {
        "docker": {"": [rule]}, "oci": {"": [{"type": "insecureAcceptAnything"}]},
    }});
    let file = dir.join("policy.json");
    std::fs::write(&file, rules.to_string()).unwrap();
    let mut command = Command::new("skopeo");
    command
        .arg("--policy")
        .arg(&file)
        .arg("--registries.d")
        .arg(&settings)
        .args(args);
    Outcome::of(command, b"")
}

#[test]
fn skopeo_accepts_what_box_signs() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let other = Key::p256(home.path(), "other");
    registry.put("app", "1", &image("app"));
    let reference = registry.reference("app:1");
    home.run(["pull", &reference]).succeeds();
    let url = format!("docker://{reference}");
    let out = format!("oci:{}:x", home.path().join("out").display());
    let copy = ["copy", "--src-tls-verify=false", &url, &out];
    skopeo(home.path(), &key, &copy).fails_with(1, &["signature"]);
    for file in [&other.private, &key.private] {
        home.run(["push", "--sign-by", file.to_str().unwrap(), &reference])
            .succeeds();
    }
    skopeo(home.path(), &key, &copy).succeeds();
    skopeo(home.path(), &other, &copy).succeeds();
    // And box itself, for the tag that was signed only.
    policy(&home, &signed_by(registry.host(), &key));
    home.run(["pull", &reference]).succeeds();
    registry.put("app", "2", &image("app"));
    home.run(["pull", &registry.reference("app:2")])
        .fails(&["app:1, not as"]);
    // With a key that cosign encrypted, and its passphrase.
    let file = encrypted(&key, "secret");
    let mut push = home.command(["push", "--sign-by", file.to_str().unwrap(), &reference]);
    push.env("COSIGN_PASSWORD", "wrong");
    Outcome::of(push, b"").fails(&["the passphrase is wrong"]);
    let mut push = home.command(["push", "--sign-by", file.to_str().unwrap(), &reference]);
    push.env("COSIGN_PASSWORD", "secret");
    Outcome::of(push, b"").succeeds();
    let rsa = Key::new(
        home.path(),
        "rsa",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    );
    home.run([
        "push",
        "--sign-by",
        rsa.private.to_str().unwrap(),
        &reference,
    ])
    .fails(&["neither an ECDSA key"]);
}

#[test]
fn box_accepts_what_skopeo_signs() {
    let registry = Registry::new();
    let home = Home::new();
    let key = Key::p256(home.path(), "own");
    let file = encrypted(&key, "secret");
    let phrase = home.path().join("phrase");
    std::fs::write(&phrase, "secret").unwrap();
    let layout = home.path().join("layout");
    image("app").write_layout(&layout, "x");
    let (from, reference) = (
        format!("oci:{}:x", layout.display()),
        registry.reference("app:1"),
    );
    skopeo(
        home.path(),
        &key,
        &[
            "copy",
            "--dest-tls-verify=false",
            "--sign-by-sigstore-private-key",
            file.to_str().unwrap(),
            "--sign-passphrase-file",
            phrase.to_str().unwrap(),
            &from,
            &format!("docker://{reference}"),
        ],
    )
    .succeeds();
    policy(
        &home,
        &signed_by(registry.host(), &Key::p256(home.path(), "other")),
    );
    home.run(["pull", &reference])
        .fails(&["no trusted key made it"]);
    policy(&home, &signed_by(registry.host(), &key));
    home.run(["pull", &reference]).succeeds();
    assert!(
        registry
            .manifest("app", &cosign::tag(&image("app").digest()))
            .is_some()
    );
}
