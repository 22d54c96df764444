//! Signing images as cosign does: a payload with its signature, in a manifest of its own beside the image.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_cache::{Digest, Reference};
use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageManifest, ImageManifestBuilder, MediaType,
};
use p256::ecdsa::signature::Signer;
use p256::pkcs8::{DecodePrivateKey, SecretDocument};

use super::PublicKey;
use super::{encrypted, payload};

/// The media type of a simple signing payload.
pub(super) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation of a payload's descriptor that holds its signature in base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The media type of the manifest of signatures.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The most payloads of one manifest; more are neither read nor written.
pub(super) const MOST_PAYLOADS: usize = 64;

/// A key that signs images: ECDSA on P-256 or Ed25519.
pub struct SigningKey {
    key: Private,
    public: PublicKey,
}

enum Private {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

/// What has to be put into a repository for a signature: blobs first, the manifest last, under its tag.
#[derive(Debug)]
pub(super) struct SignatureImage {
    /// The tag that belongs to the signed digest.
    pub tag: String,
    /// The blobs: the payload and the config.
    pub blobs: Vec<Vec<u8>>,
    /// The manifest.
    pub manifest: Vec<u8>,
}

impl SigningKey {
    /// Whether a key in PEM form is one of cosign's, which is read with a passphrase.
    pub fn is_encrypted(text: &str) -> bool {
        encrypted::find(text).is_some()
    }

    /// Reads a private key in PEM form: PKCS #8 (`PRIVATE KEY`), SEC 1 (`EC PRIVATE KEY`), or one of cosign's with its passphrase.
    ///
    /// # Errors
    /// Why it is not usable, as part of a sentence. Nothing of the key is in it.
    pub fn from_pem(text: &str, passphrase: &str) -> Result<Self, String> {
        if let Some(sealed) = encrypted::find(text) {
            return Self::from_pkcs8(&encrypted::open(&sealed?, passphrase)?);
        }
        // OpenSSL writes the curve into a block of its own before the key.
        let begin = text.find("-----BEGIN EC PRIVATE KEY-----");
        if let Some(begin) = begin {
            let secret = p256::SecretKey::from_sec1_pem(text[begin..].trim());
            let secret = secret.map_err(|_| "it is not an ECDSA key on P-256".to_owned())?;
            return Self::of(Private::P256(secret.into()));
        }
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err("it is protected by a passphrase; openssl pkey removes it".to_owned());
        }
        if !text.contains("-----BEGIN PRIVATE KEY-----") {
            return Err("it is not a private key in PEM form".to_owned());
        }
        let document = SecretDocument::from_pem(text.trim());
        let (_, document) =
            document.map_err(|_| "it is not a private key in PEM form".to_owned())?;
        Self::from_pkcs8(document.as_bytes())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_der(der) {
            return Self::of(Private::P256(key));
        }
        match ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            Ok(key) => Self::of(Private::Ed25519(key)),
            Err(_) => Err("it is neither an ECDSA key on P-256 nor an Ed25519 key".to_owned()),
        }
    }

    fn of(key: Private) -> Result<Self, String> {
        let public = match &key {
            Private::P256(key) => PublicKey::of(key.verifying_key())?,
            Private::Ed25519(key) => PublicKey::of(&key.verifying_key())?,
        };
        Ok(Self { key, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of an image that is pushed as `name`: a new manifest, or the `existing` one with one more payload.
    ///
    /// # Errors
    /// Why the existing manifest cannot be extended, as part of a sentence.
    pub(super) fn sign(
        &self,
        name: &Reference,
        digest: &Digest,
        existing: Option<&[u8]>,
    ) -> Result<SignatureImage, String> {
        let payload = payload::write(name, digest);
        let signature = match &self.key {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(&payload);
                signature.to_der().as_bytes().to_vec()
            }
            Private::Ed25519(key) => key.sign(&payload).to_bytes().to_vec(),
        };
        let mut layers = earlier(existing)?;
        // A payload has one entry for each key; the same key's earlier signature of it is replaced.
        layers.retain(|layer| !self.made(layer, &payload));
        if layers.len() >= MOST_PAYLOADS {
            return Err(format!("it has {} signatures already", layers.len()));
        }
        let descriptor = descriptor(PAYLOAD, &payload);
        let annotations = [(SIGNATURE.to_owned(), STANDARD.encode(signature))];
        layers.push(annotated(descriptor, annotations));
        let config = config(&layers);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(descriptor_of(MediaType::ImageConfig, &config))
            .layers(layers)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(SignatureImage {
            tag: tag(digest),
            blobs: vec![payload, config],
            manifest: manifest
                .to_string()
                .map_err(|error| error.to_string())?
                .into_bytes(),
        })
    }

    /// Whether a layer is this payload with a signature by this key.
    fn made(&self, layer: &Descriptor, payload: &[u8]) -> bool {
        let signature = layer
            .annotations()
            .as_ref()
            .and_then(|notes| notes.get(SIGNATURE));
        let signature = signature.and_then(|text| STANDARD.decode(text.trim()).ok());
        layer.digest().to_string() == Digest::of(payload).to_string()
            && signature.is_some_and(|signature| self.public.signed(payload, &signature))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

/// The tag under which cosign keeps the signatures of a digest: `sha256-<hex>.sig`.
pub(super) fn tag(digest: &Digest) -> String {
    format!("{}.sig", digest.to_string().replacen(':', "-", 1))
}

/// The signatures that are there already.
fn earlier(existing: Option<&[u8]>) -> Result<Vec<Descriptor>, String> {
    let Some(bytes) = existing else {
        return Ok(Vec::new());
    };
    let manifest = ImageManifest::from_reader(bytes).map_err(|error| error.to_string())?;
    Ok(manifest.layers().clone())
}

/// A config as images without a file system have it. It has no time, so that the same signature makes the same manifest.
fn config(layers: &[Descriptor]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| layer.digest().to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    descriptor_of(MediaType::Other(media_type.to_owned()), bytes)
}

fn descriptor_of(media_type: MediaType, bytes: &[u8]) -> Descriptor {
    let digest: oci_spec::image::Digest = Digest::of(bytes)
        .to_string()
        .parse()
        .expect("both types have the digests of SHA-256");
    DescriptorBuilder::default()
        .media_type(media_type)
        .size(bytes.len() as u64)
        .digest(digest)
        .build()
        .expect("every field that must be set is set")
}

fn annotated(
    mut descriptor: Descriptor,
    annotations: impl IntoIterator<Item = (String, String)>,
) -> Descriptor {
    descriptor.set_annotations(Some(annotations.into_iter().collect()));
    descriptor
}
