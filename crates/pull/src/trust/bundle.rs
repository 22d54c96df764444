//! Sigstore bundles, versions 0.1 to 0.3 (<https://github.com/sigstore/protobuf-specs>), with DSSE envelopes
//! (<https://github.com/secure-systems-lab/dsse>) and in-toto statements (<https://github.com/in-toto/attestation>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_cache::Digest;
use serde::{Deserialize, Serialize};

use super::evidence::STRANGER;
use super::key::PublicKey;

/// The predicate by which a statement is a signature of its subject. Other statements by the same key (provenance, lists of parts,
/// results of scans) say something about an image, not that it may be used.
pub(super) const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// How the media types of all versions begin.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// The payload type of in-toto statements.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Most signatures of one envelope, and subjects of one statement, that are looked at.
const MOST: usize = 16;

/// A bundle. What vouches for certificates and times is not read: only keys count.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bundle {
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_signature: Option<MessageSignature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Envelope>,
}

/// A signature of bytes that are elsewhere: here, of a manifest or an index.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

impl Bundle {
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let bundle: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("the bundle is malformed: {error}"))?;
        match bundle.media_type.starts_with(MEDIA_TYPE) {
            true => Ok(bundle),
            false => Err(format!("{:?} is not a bundle", bundle.media_type)),
        }
    }

    /// The digests that the bundle claims to sign, unchecked: only their documents have to be read for [`Bundle::signer`].
    pub fn claims(&self) -> Result<Vec<Digest>, String> {
        match (&self.message_signature, &self.dsse_envelope) {
            (Some(message), None) => {
                let stated = message.message_digest.as_ref();
                let stated = stated.ok_or("the bundle does not say which digest it signs")?;
                if stated.algorithm != "SHA2_256" {
                    return Err(format!(
                        "the bundle signs a digest by {:?}",
                        stated.algorithm
                    ));
                }
                let hex: String = decode(&stated.digest)?
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                let digest = Digest::from_sha256_hex(&hex).map_err(|error| error.to_string())?;
                Ok(vec![digest])
            }
            (None, Some(envelope)) => envelope.subjects(),
            _ => Err("the bundle must hold either a message signature or an envelope".to_owned()),
        }
    }

    /// The key that signed `digest`, whose document is `document`.
    pub fn signer<'k>(
        &self,
        keys: &'k [PublicKey],
        digest: &Digest,
        document: &[u8],
    ) -> Result<&'k PublicKey, String> {
        if !self.claims()?.contains(digest) {
            return Err(format!("it does not sign {digest}"));
        }
        let (message, signatures) = match (&self.message_signature, &self.dsse_envelope) {
            (Some(message), _) => (document.to_vec(), vec![decode(&message.signature)?]),
            (None, Some(envelope)) => {
                let signatures = envelope.signatures.iter().take(MOST);
                let signatures = signatures
                    .map(|s| decode(&s.sig))
                    .collect::<Result<_, _>>()?;
                (envelope.message()?, signatures)
            }
            (None, None) => return Err("the bundle holds no signature".to_owned()),
        };
        keys.iter()
            .find(|key| {
                signatures
                    .iter()
                    .any(|signature| key.signed(&message, signature))
            })
            .ok_or_else(|| STRANGER.to_owned())
    }
}

impl Envelope {
    /// What is signed: the pre-authentication encoding of DSSE.
    fn message(&self) -> Result<Vec<u8>, String> {
        let payload = decode(&self.payload)?;
        let kind = &self.payload_type;
        let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        message.extend(payload);
        Ok(message)
    }

    fn subjects(&self) -> Result<Vec<Digest>, String> {
        if self.payload_type != IN_TOTO {
            return Err(format!(
                "its envelope holds {:?}, not a statement",
                self.payload_type
            ));
        }
        let payload = decode(&self.payload)?;
        let statement: Statement = serde_json::from_slice(&payload)
            .map_err(|error| format!("its statement is malformed: {error}"))?;
        if !statement.kind.starts_with("https://in-toto.io/Statement/") {
            return Err(format!("its statement is a {:?}", statement.kind));
        }
        if statement.predicate_type != SIGN_PREDICATE {
            return Err(format!(
                "it is a statement about the image ({}), not a signature of it",
                statement.predicate_type
            ));
        }
        let hex = statement
            .subject
            .iter()
            .take(MOST)
            .filter_map(|s| s.digest.get("sha256"));
        let digests = hex.map(|hex| Digest::from_sha256_hex(hex).map_err(|e| e.to_string()));
        digests.collect()
    }
}

/// Base64 with the standard alphabet, as proto3's JSON form writes it.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text.trim())
        .map_err(|error| format!("it is not in base64: {error}"))
}
