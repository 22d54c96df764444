//! Keys of openssl, and signatures as cosign would put them into a registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_tests::registry::{Image, Registry, digest};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// A key pair in PEM files.
pub struct Key {
    pub private: PathBuf,
    pub public: PathBuf,
}

impl Key {
    /// Makes a pair with openssl, by the words of `openssl genpkey` or `openssl ecparam`.
    pub fn new(dir: &Path, name: &str, words: &str) -> Key {
        let private = dir.join(format!("{name}.key"));
        let public = dir.join(format!("{name}.pub"));
        let mut make = words.split(' ').collect::<Vec<_>>();
        let file = private.to_str().unwrap();
        make.extend(["-out", file]);
        openssl(&make, b"");
        openssl(
            &[
                "pkey",
                "-in",
                file,
                "-pubout",
                "-out",
                public.to_str().unwrap(),
            ],
            b"",
        );
        Key { private, public }
    }

    pub fn p256(dir: &Path, name: &str) -> Key {
        Key::new(dir, name, "ecparam -name prime256v1 -genkey -noout")
    }

    /// Its signature of a message in base64.
    pub fn sign(&self, message: &[u8]) -> String {
        let file = self.private.with_extension("message");
        std::fs::write(&file, message).unwrap();
        let (key, file) = (self.private.to_str().unwrap(), file.to_str().unwrap());
        let text = openssl(&["pkey", "-in", key, "-noout", "-text"], b"");
        let signature = match String::from_utf8_lossy(&text).contains("ED25519") {
            true => openssl(
                &["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file],
                b"",
            ),
            false => openssl(&["dgst", "-sha256", "-sign", key, file], b""),
        };
        STANDARD.encode(signature)
    }

    /// What names it: the digest of its public half in DER form.
    pub fn id(&self) -> String {
        let der = openssl(
            &[
                "pkey",
                "-pubin",
                "-in",
                self.public.to_str().unwrap(),
                "-outform",
                "DER",
            ],
            b"",
        );
        digest(&der).trim_start_matches("sha256:").to_owned()
    }
}

fn openssl(args: &[&str], stdin: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "openssl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The document that cosign signs.
pub fn payload(name: &str, digest: &str) -> Vec<u8> {
    let payload = json!({"critical": {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }, "optional": null});
    payload.to_string().into_bytes()
}

/// The manifest of payloads and their signatures.
pub fn signatures(signed: &[(Vec<u8>, String)]) -> Image {
    let layers: Value = signed
        .iter()
        .map(|(payload, signature)| {
            json!({
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "size": payload.len(),
                "digest": digest(payload),
                "annotations": {"dev.cosignproject.cosign/signature": signature},
            })
        })
        .collect();
    let config =
        br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
    let mut blobs: Vec<Vec<u8>> = signed.iter().map(|(payload, _)| payload.clone()).collect();
    blobs.push(config.clone());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers,
    });
    Image::document(MANIFEST, manifest.to_string().into_bytes(), &blobs)
}

/// The tag under which a digest's signatures are.
pub fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// Signs an image as cosign does.
pub fn sign(registry: &Registry, repository: &str, image: &Image, key: &Key) {
    let payload = payload(&registry.reference(repository), &image.digest());
    let signature = key.sign(&payload);
    let signed = signatures(&[(payload, signature)]);
    registry.put(repository, &tag(&image.digest()), &signed);
}

/// A bundle with a statement about a digest.
pub fn statement_bundle(digest: &str, predicate: &str, key: &Key) -> Value {
    let hex = digest.trim_start_matches("sha256:");
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": hex}, "annotations": {}}],
        "predicateType": predicate,
        "predicate": {},
    })
    .to_string();
    let kind = "application/vnd.in-toto+json";
    let message = format!(
        "DSSEv1 {} {kind} {} {statement}",
        kind.len(),
        statement.len()
    );
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement),
            "payloadType": kind,
            "signatures": [{"sig": key.sign(message.as_bytes())}],
        },
    })
}

/// A bundle with a signature of a document itself.
pub fn message_bundle(document: &[u8], key: &Key) -> Value {
    let hex = digest(document);
    let hex = hex.trim_start_matches("sha256:");
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(bytes)},
            "signature": key.sign(document),
        },
    })
}

/// Puts bundles where clients keep the referrers of a digest in a registry that knows no such call.
pub fn refer(registry: &Registry, repository: &str, digest: &str, bundles: &[Value]) {
    let children: Vec<Image> = bundles
        .iter()
        .map(|bundle| {
            let bytes = bundle.to_string().into_bytes();
            let empty = b"{}".to_vec();
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": BUNDLE,
                "config": descriptor("application/vnd.oci.empty.v1+json", &empty),
                "layers": [descriptor(BUNDLE, &bytes)],
                "subject": {"mediaType": MANIFEST, "digest": digest, "size": 1},
            });
            Image::document(MANIFEST, manifest.to_string().into_bytes(), &[bytes, empty])
        })
        .collect();
    let index = Image::index(&children).edited(|index| {
        for entry in index["manifests"].as_array_mut().unwrap() {
            entry["artifactType"] = BUNDLE.into();
            entry.as_object_mut().unwrap().remove("platform");
        }
    });
    registry.put(repository, &digest.replace(':', "-"), &index);
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "size": bytes.len(), "digest": digest(bytes)})
}
