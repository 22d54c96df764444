//! The simple signing payload: the document that cosign and podman sign
//! (<https://github.com/containers/image/blob/main/docs/containers-signature.5.md>).

use box_cache::{Digest, Reference};
use serde::{Deserialize, Serialize};

/// What cosign writes as the type; podman writes the second one.
const TYPES: [&str; 3] = [
    "cosign container image signature",
    "atomic container signature",
    super::bundle::SIGN_PREDICATE,
];

/// The signed document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    critical: Critical,
    /// Statements that nobody has to understand.
    #[serde(default)]
    optional: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    docker_reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

/// What a payload states.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// The name under which it was signed, if the signer gave one.
    pub name: Option<Reference>,
    /// Whether the name has a tag of its own.
    pub has_tag: bool,
}

impl Statement {
    /// Reads a payload whose signature was checked.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let payload: Payload = serde_json::from_slice(bytes)
            .map_err(|error| format!("the signed document is malformed: {error}"))?;
        let critical = payload.critical;
        if !TYPES.contains(&critical.kind.as_str()) {
            return Err(format!("it signs a {:?}, not an image", critical.kind));
        }
        let digest = critical.image.docker_manifest_digest;
        let digest = digest
            .parse()
            .map_err(|_| format!("{digest:?} in the signed document is not a digest"))?;
        let text = critical.identity.docker_reference;
        let name: Option<Reference> = match text.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| format!("{text:?} in the signed document is not a name"))?,
            ),
        };
        // A name without tag and digest would get the tag `latest`, which nobody signed.
        let last = text.rsplit('/').next().unwrap_or_default();
        Ok(Self {
            digest,
            name,
            has_tag: last
                .split('@')
                .next()
                .is_some_and(|last| last.contains(':')),
        })
    }
}

/// The document to sign for an image that is pushed as `name`.
pub(super) fn write(name: &Reference, digest: &Digest) -> Vec<u8> {
    let full = name.in_full();
    let payload = Payload {
        critical: Critical {
            identity: Identity {
                docker_reference: full.split('@').next().unwrap_or_default().to_owned(),
            },
            image: SignedImage {
                docker_manifest_digest: digest.to_string(),
            },
            kind: TYPES[0].to_owned(),
        },
        optional: serde_json::Value::Null,
    };
    serde_json::to_vec(&payload).expect("a document of plain strings can be serialized")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn payload(kind: &str, name: &str, digest: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{name}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
        )
    }

    #[test]
    fn what_cosign_and_podman_sign_is_read() {
        for kind in TYPES {
            let text = payload(kind, "ghcr.io/org/app", DIGEST);
            let statement = Statement::read(text.as_bytes()).unwrap();
            assert_eq!(statement.digest.to_string(), DIGEST);
            assert_eq!(statement.name.unwrap().name(), "ghcr.io/org/app");
            assert!(!statement.has_tag);
        }
        for (name, has_tag) in [
            ("localhost:5000/app", false),
            ("localhost:5000/app:1", true),
            (&format!("localhost:5000/app@{DIGEST}"), false),
            (&format!("localhost:5000/app:1@{DIGEST}"), true),
        ] {
            let text = payload(TYPES[0], name, DIGEST);
            assert_eq!(
                Statement::read(text.as_bytes()).unwrap().has_tag,
                has_tag,
                "{name}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, why) in [
            (
                payload("atomic host signature", "a.b/c", DIGEST),
                "not an image",
            ),
            (payload(TYPES[0], "a.b/c", "sha256:0123"), "is not a digest"),
            (payload(TYPES[0], "a b", DIGEST), "is not a name"),
            ("{}".to_owned(), "malformed"),
            (
                r#"{"critical":{"type":"cosign container image signature"}}"#.to_owned(),
                "malformed",
            ),
        ] {
            let refused = Statement::read(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let name: Reference = "docker.io/library/nginx:1".parse().unwrap();
        let digest: Digest = DIGEST.parse().unwrap();
        let bytes = write(&name, &digest);
        assert!(String::from_utf8_lossy(&bytes).contains(r#""docker.io/library/nginx:1""#));
        let statement = Statement::read(&bytes).unwrap();
        assert_eq!(
            statement,
            Statement {
                digest,
                name: Some(name),
                has_tag: true
            }
        );
    }
}
