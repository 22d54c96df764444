//! Image references: text in, canonical name out. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, Error};

/// The tag that a reference without tag and digest means.
const DEFAULT_TAG: &str = "latest";

/// The names' longest text, as in the distribution project's grammar.
const MAX_NAME: usize = 255;

/// What an image is asked for by: `name[:tag][@digest]`.
///
/// The grammar is that of <https://github.com/distribution/reference>: a name is one or more components of lower-case
/// letters and digits, joined by `/`, perhaps after a host with an optional port. `alpine` is `alpine:latest`.
/// Nothing is prepended: `alpine` stays `alpine`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The name without tag and digest: `alpine`, `registry.example:5000/team/app`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag; `latest` where neither tag nor digest was given, none where only a digest was.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that is demanded: of the image's manifest, or of the only layer's blob.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The text that stands for it in `index.json` as `org.opencontainers.image.ref.name`: the canonical form.
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// The same image with a digest demanded.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same name and tag with no digest demanded.
    pub fn without_digest(&self) -> Reference {
        let tag = self.tag.clone().or_else(|| Some(DEFAULT_TAG.to_owned()));
        Reference {
            name: self.name.clone(),
            tag,
            digest: None,
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference, Error> {
        parse(text).map_err(|reason| Error::Reference {
            text: text.chars().take(300).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse::<Digest>().map_err(|error| match error {
                Error::Digest { reason, .. } => format!("after the @, {reason}"),
                other => other.to_string(),
            })?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A colon before the last slash separates a host from its port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    check_name(name)?;
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG),
        (tag, _) => tag,
    };
    Ok(Reference {
        name: name.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name is longer than {MAX_NAME} bytes"));
    }
    let path = match name.split_once('/') {
        Some((first, path)) if is_host(first) => {
            check_host(first)?;
            path
        }
        _ => name,
    };
    path.split('/').try_for_each(check_component)
}

/// Whether the first component is a host: the rule by which every container tool tells it from a path.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_host(host: &str) -> Result<(), String> {
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| format!("[{address}] is no IPv6 address"))?;
            (
                "",
                rest.strip_prefix(':')
                    .or(if rest.is_empty() { None } else { Some(rest) }),
            )
        }
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    if let Some(port) = port
        && (port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(format!("{port:?} is no port"));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.is_empty() || host.split('.').all(label) {
        Ok(())
    } else {
        Err(format!("{host:?} is no host name"))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn check_component(component: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if plain(*first) && plain(*last) => {}
        (None, _) => return Err("a part of the name is empty".to_owned()),
        _ => {
            return Err(format!(
                "{component:?} must begin and end with a lower-case letter or a digit"
            ));
        }
    }
    for separator in component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        let valid =
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !valid {
            return Err(format!(
                "{component:?} must be lower-case letters and digits, separated by one '.', one or two '_', or '-'"
            ));
        }
    }
    Ok(())
}

/// `[\w][\w.-]{0,127}`
fn check_tag(tag: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if valid {
        Ok(())
    } else {
        Err(format!(
            "the tag {tag:?} must be 1 to 128 letters, digits, '_', '.' or '-', not beginning with '.' or '-'"
        ))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn canonical_forms() {
        for (text, name, tag, canonical) in [
            ("alpine", "alpine", Some("latest"), "alpine:latest"),
            ("alpine:3.20", "alpine", Some("3.20"), "alpine:3.20"),
            ("team/app", "team/app", Some("latest"), "team/app:latest"),
            (
                "localhost:5000/app",
                "localhost:5000/app",
                Some("latest"),
                "localhost:5000/app:latest",
            ),
            (
                "localhost:5000",
                "localhost",
                Some("5000"),
                "localhost:5000",
            ),
            (
                "Reg.Example:5000/a__b/c--d:V_1.2-x",
                "Reg.Example:5000/a__b/c--d",
                Some("V_1.2-x"),
                "Reg.Example:5000/a__b/c--d:V_1.2-x",
            ),
            ("[::1]:80/a:b", "[::1]:80/a", Some("b"), "[::1]:80/a:b"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.name(), reference.tag(), reference.key().as_str()),
                (name, tag, canonical),
                "{text}"
            );
        }
    }

    #[test]
    fn digests() {
        let both: Reference = format!("alpine:3.20@{DIGEST}").parse().unwrap();
        assert_eq!(
            (both.tag(), both.digest().unwrap().to_string().as_str()),
            (Some("3.20"), DIGEST)
        );
        let only: Reference = format!("alpine@{DIGEST}").parse().unwrap();
        assert_eq!(only.tag(), None);
        assert_eq!(only.key(), format!("alpine@{DIGEST}"));
        assert_eq!(only.without_digest().key(), "alpine:latest");
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            ":",
            "@",
            "Alpine",
            "alpine:",
            "alpine: 3",
            "alpine@",
            "alpine@sha256:12",
            "/alpine",
            "alpine/",
            "a//b",
            "..",
            "../alpine",
            "a/../b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "alpine:.x",
            "alpine:a/b/c",
            "a\nb",
            "a\0b",
            "é",
            "alpine:\u{1b}[31m",
            "host.example:x/app",
            "host.example:99999/app",
            "-h.example/app",
            "[::g]/a",
            "[::1]x/a",
            &"a".repeat(256),
            &format!("a:{}", "b".repeat(129)),
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_its_result_is_stable(text in "\\PC{0,40}|[a-zA-Z0-9:/@._\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.key().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
