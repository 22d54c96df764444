//! Where an image came from and how it was verified. Kept in the index and not in the image: the same image from two mirrors
//! stays the same image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

const URL: &str = "box.provenance.url";
const FETCHED: &str = "box.provenance.fetched";
const VERIFIED: &str = "box.provenance.verified";
/// The value of [`DOCUMENTS`] for documents from a registry.
const SERVED: &str = "served";
const FINGERPRINT: &str = "box.provenance.fingerprint";
const DOCUMENTS: &str = "box.provenance.documents";
const INDEX: &str = "box.provenance.index";
const KEY: &str = "box.provenance.key";
const SIGNED: &str = "box.provenance.signed";
const EVIDENCE: &str = "box.provenance.evidence";
const VERSION: &str = "org.opencontainers.image.version";

/// The origin of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The URL or path it was fetched from, without credentials. Empty if unknown.
    pub url: String,
    /// When it was fetched, in seconds since the epoch. 0 if unknown.
    pub fetched: u64,
    /// How it was verified.
    pub verified: Verified,
    /// Its release, such as `3.20.3`.
    pub version: Option<String>,
    /// How its manifest and config came from a registry, byte for byte. `None` if box made them, or if it is unknown who did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
}

/// The way to the manifest of an image that a registry serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The digest of the index from which the manifest was chosen, if there was one. The cache has the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
}

/// How an image's bytes were verified: the strongest check that they passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Verified {
    /// A detached OpenPGP signature by a trusted key.
    Signature {
        /// The key's fingerprint in upper-case hexadecimal digits.
        fingerprint: String,
    },
    /// A signature of the manifest, or of an index that lists it, by a key that the user's policy names.
    Key {
        /// The SHA-256 digest of the key's SubjectPublicKeyInfo in hexadecimal digits.
        key: String,
        /// The digest that was signed.
        signed: Digest,
        /// The signature with what it takes to check it again; its form is not the cache's business.
        #[serde(default, skip_serializing)]
        evidence: String,
    },
    /// Checksums that the mirror itself serves.
    Checksum,
    /// A digest that the user or a lock file required.
    Digest,
    /// Not verified.
    Unverified,
}

impl Verified {
    /// Its strength; more is stronger.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Verified::Signature { .. } | Verified::Key { .. } => 3,
            Verified::Digest => 2,
            Verified::Checksum => 1,
            Verified::Unverified => 0,
        }
    }
}

impl Provenance {
    /// Merges the provenance of an image that is added again, byte for byte, with the `known` one. A check that these bytes passed
    /// still counts, and adding them again unverified takes nothing away.
    pub(crate) fn after(self, mut known: Provenance) -> Provenance {
        let before = known.served.take();
        let served = match &self.served {
            // Who asked by the digest of the manifest learned of no index.
            Some(own) => Some(Served {
                index: own.index.or(before.and_then(|before| before.index)),
            }),
            None => before,
        };
        match self.verified == Verified::Unverified || self.verified.rank() < known.verified.rank()
        {
            true => Provenance { served, ..known },
            false => Provenance {
                version: self.version.or(known.version),
                served,
                ..self
            },
        }
    }

    /// Whether box verified a tarball and made the image from it. The config and manifest of any other image were made elsewhere, and
    /// may put the same tarball to another use.
    pub(crate) fn is_of_tarball(&self) -> bool {
        !matches!(self.verified, Verified::Unverified | Verified::Key { .. })
            && self.served.is_none()
    }

    /// An unknown origin.
    pub fn unknown() -> Provenance {
        Provenance {
            url: String::new(),
            fetched: 0,
            verified: Verified::Unverified,
            version: None,
            served: None,
        }
    }

    /// The index from which its manifest was chosen.
    pub(crate) fn index(&self) -> Option<Digest> {
        self.served.as_ref()?.index
    }

    /// Writes it as annotations of an index entry.
    pub(crate) fn annotate(&self, annotations: &mut BTreeMap<String, String>) {
        let mut set = |key: &str, value: Option<String>| match value {
            Some(value) => drop(annotations.insert(key.to_owned(), value)),
            None => drop(annotations.remove(key)),
        };
        let verified = match &self.verified {
            Verified::Signature { .. } => "signature",
            Verified::Key { .. } => "key",
            Verified::Checksum => "checksum",
            Verified::Digest => "digest",
            Verified::Unverified => "unverified",
        };
        let (mut fingerprint, mut key, mut signed, mut evidence) = (None, None, None, None);
        match &self.verified {
            Verified::Signature { fingerprint: own } => fingerprint = Some(own.clone()),
            Verified::Key {
                key: id,
                signed: digest,
                evidence: text,
            } => {
                key = Some(id.clone());
                signed = Some(digest.to_string());
                evidence = Some(text.clone());
            }
            Verified::Checksum | Verified::Digest | Verified::Unverified => {}
        }
        set(URL, Some(self.url.clone()).filter(|url| !url.is_empty()));
        set(
            FETCHED,
            Some(self.fetched)
                .filter(|seconds| *seconds != 0)
                .map(|seconds| seconds.to_string()),
        );
        set(VERIFIED, Some(verified.to_owned()));
        set(FINGERPRINT, fingerprint);
        set(KEY, key);
        set(SIGNED, signed);
        set(EVIDENCE, evidence);
        set(VERSION, self.version.clone());
        let served = self.served.as_ref();
        set(DOCUMENTS, served.map(|_| SERVED.to_owned()));
        set(INDEX, self.index().map(|index| index.to_string()));
    }

    /// Reads the annotations of an index entry. Other tools write none: then everything is unknown.
    pub(crate) fn from_annotations(annotations: &BTreeMap<String, String>) -> Provenance {
        let get = |key: &str| annotations.get(key).cloned();
        let signed = annotations
            .get(SIGNED)
            .and_then(|digest| digest.parse().ok());
        let verified = match annotations.get(VERIFIED).map(String::as_str) {
            Some("signature") => Verified::Signature {
                fingerprint: get(FINGERPRINT).unwrap_or_default(),
            },
            Some("key") => match (signed, get(KEY)) {
                (Some(signed), Some(key)) => Verified::Key {
                    key,
                    signed,
                    evidence: get(EVIDENCE).unwrap_or_default(),
                },
                _ => Verified::Unverified,
            },
            Some("checksum") => Verified::Checksum,
            Some("digest") => Verified::Digest,
            _ => Verified::Unverified,
        };
        Provenance {
            url: get(URL).unwrap_or_default(),
            fetched: get(FETCHED)
                .and_then(|seconds| seconds.parse().ok())
                .unwrap_or(0),
            verified,
            version: get(VERSION),
            served: (get(DOCUMENTS).as_deref() == Some(SERVED)).then(|| Served {
                index: get(INDEX).and_then(|digest| digest.parse().ok()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_keep_everything() {
        for verified in [
            Verified::Signature {
                fingerprint: "0482D84022F52DF1C4E7CD43293ACD0907D9495A".to_owned(),
            },
            Verified::Key {
                key: "ab".repeat(32),
                signed: Digest::of(b"manifest"),
                evidence: "{}".to_owned(),
            },
            Verified::Checksum,
            Verified::Digest,
            Verified::Unverified,
        ] {
            let provenance = Provenance {
                url: "https://mirror.example/a.tar.gz".to_owned(),
                fetched: 1_700_000_000,
                verified,
                version: Some("3.20.3".to_owned()),
                served: Some(Served {
                    index: Some(Digest::of(b"index")),
                }),
            };
            let mut annotations = BTreeMap::new();
            provenance.annotate(&mut annotations);
            assert_eq!(Provenance::from_annotations(&annotations), provenance);
        }
        assert_eq!(
            Provenance::from_annotations(&BTreeMap::new()),
            Provenance::unknown()
        );
    }

    #[test]
    fn annotating_again_leaves_nothing_of_before() {
        let mut annotations = BTreeMap::new();
        let signed = Verified::Signature {
            fingerprint: "AB".to_owned(),
        };
        Provenance {
            url: "u".to_owned(),
            fetched: 1,
            verified: signed,
            version: Some("1".to_owned()),
            served: Some(Served::default()),
        }
        .annotate(&mut annotations);
        Provenance::unknown().annotate(&mut annotations);
        assert_eq!(annotations.len(), 1, "{annotations:?}");
    }
}
