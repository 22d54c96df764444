//! Image references: from text to canonical names. No file is read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, Error};

/// The tag of a reference without tag and digest.
const DEFAULT_TAG: &str = "latest";

/// The longest name in bytes, as in the distribution project's grammar.
const MAX_NAME: usize = 255;

/// Docker's registry: what other tools mean by a name without a host.
const DOCKER: &str = "docker.io";

/// The older name of the same registry.
const DOCKER_INDEX: &str = "index.docker.io";

/// The user of docker's registry that is left out of names.
const OFFICIAL: &str = "library";

/// The short name that box uses for Alpine's signed releases. Docker's image of that name is a different one, and keeps its full
/// name.
const OWN: &str = "alpine";

/// The name of an image: `name[:tag][@digest]`.
///
/// The grammar is that of <https://github.com/distribution/reference>: a name is one or more components of lower-case
/// letters and digits, joined by `/`, perhaps after a host with an optional port. `alpine` is `alpine:latest`.
///
/// Names in docker's registry have several spellings, of which the shortest is kept: `docker.io/library/pod`, `index.docker.io/pod`
/// and `library/pod` are `pod`, `docker.io/team/app` is `team/app`. There is one exception: `alpine` means Alpine's own release, and
/// the image that docker publishes as `alpine` is `docker.io/library/alpine`.
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

    /// Whether this is the short name of Alpine's own releases, which come from Alpine's mirrors and not from a registry.
    pub fn is_own(&self) -> bool {
        self.name == OWN
    }

    /// The name in a text that gives no host, without tag and digest: `pod` of `pod:1`. `None` where a host is given, and for Alpine's own
    /// releases. Such a name means an image of docker's registry, unless the user's settings say otherwise.
    pub fn short_name(text: &str) -> Option<&str> {
        let reference = text.parse::<Reference>().ok()?;
        let rest = text.split('@').next().unwrap_or_default();
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let name = match rest[last..].find(':') {
            Some(colon) => &rest[..last + colon],
            None => rest,
        };
        let has_host = name
            .split_once('/')
            .is_some_and(|(first, _)| is_host(first));
        (!has_host && !reference.is_own()).then_some(name)
    }

    /// The tag. `latest` if neither tag nor digest was given, `None` if only a digest was.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The required digest of the image's manifest, or of its only layer's blob.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The full name for docker, podman and containerd, which have no names without a host: `docker.io/library/pod:1`. Alpine's own
    /// release gets the name of docker's image.
    pub fn in_full(&self) -> String {
        let name = self.name.as_str();
        match name.split_once('/') {
            Some((first, _)) if is_host(first) => self.to_string(),
            Some(_) => format!("{DOCKER}/{self}"),
            None => format!("{DOCKER}/{OFFICIAL}/{self}"),
        }
    }

    /// What docker and podman mean by this name: the same image, except for `alpine`, which is docker's image there.
    pub fn as_docker_means(&self) -> Reference {
        match self.is_own() {
            true => Reference {
                name: format!("{DOCKER}/{OFFICIAL}/{OWN}"),
                ..self.clone()
            },
            false => self.clone(),
        }
    }

    /// Its value of `org.opencontainers.image.ref.name` in `index.json`: the canonical form.
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// The same reference with a required digest.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same name and tag without a required digest.
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
    let name = familiar(name);
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG),
        (tag, _) => tag,
    };
    Ok(Reference {
        name,
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// The shortest spelling of a name. Docker's rules for names are applied nowhere else.
fn familiar(name: &str) -> String {
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if is_host(first) => (Some(first), path),
        _ => (None, name),
    };
    if host.is_some_and(|host| host != DOCKER && host != DOCKER_INDEX) {
        return name.to_owned();
    }
    let official = match path.split_once('/') {
        Some((OFFICIAL, rest)) if !rest.contains('/') => Some(rest),
        None if host.is_some() => Some(path),
        _ => None,
    };
    match official {
        Some(OWN) => format!("{DOCKER}/{OFFICIAL}/{OWN}"),
        Some(rest) => rest.to_owned(),
        // Without its host this would be the name of another image.
        None if path
            .split_once('/')
            .is_some_and(|(first, _)| is_host(first)) =>
        {
            format!("{DOCKER}/{path}")
        }
        None => path.to_owned(),
    }
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

/// Whether the first component is a host, by the rule of all container tools.
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
                .map_err(|_| format!("[{address}] is not an IPv6 address"))?;
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
        return Err(format!("{port:?} is not a port"));
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
        Err(format!("{host:?} is not a host name"))
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
mod tests;
