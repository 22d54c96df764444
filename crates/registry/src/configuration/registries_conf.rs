//! The text of `registries.conf`, version 2, containers-registries.conf(5). Keys that are unknown are ignored, as containers' own tools
//! do; `unqualified-search-registries` and `short-name-mode` are among them, since a short name means the same everywhere in box.

use std::collections::BTreeMap;

use box_cache::Reference;
use serde::Deserialize;

use super::entry::{Entry, Mirror, check_prefix};
use super::host::Place;
use crate::endpoint::Answers;
use crate::error::{Error, Result};

/// More entries than any site has; each is looked at for each repository.
const MOST_ENTRIES: usize = 10_000;

/// What a file says.
pub(super) struct Document {
    pub entries: Vec<Entry>,
    /// Full names of short ones; `None` takes back an alias of an earlier file.
    pub aliases: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    #[serde(default)]
    registry: Vec<RawRegistry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Version 1.
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct RawRegistry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<RawMirror>,
    mirror_by_digest_only: bool,
    pull_from_mirror: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct RawMirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

/// Reads the text of a file; `origin` is its name for messages.
pub(super) fn parse(origin: &str, text: &str) -> Result<Document> {
    let failed = |why: String| Error::Settings {
        file: origin.to_owned(),
        why,
    };
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map(|span| text[..span.start].matches('\n').count() + 1);
        failed(match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        })
    })?;
    if raw.registries.is_some() {
        let why = "it is in version 1 of the format, with [registries.search], which box does not read; containers-registries.conf(5) \
            describes version 2";
        return Err(failed(why.to_owned()));
    }
    if raw.registry.len() > MOST_ENTRIES || raw.aliases.len() > MOST_ENTRIES {
        return Err(failed(format!(
            "it has more than {MOST_ENTRIES} entries of a kind"
        )));
    }
    let entries = raw.registry.into_iter().map(|raw| {
        let named = match raw.prefix.as_str() {
            "" => raw.location.clone(),
            prefix => prefix.to_owned(),
        };
        entry(origin, raw).map_err(|why| failed(format!("[[registry]] {named}: {why}")))
    });
    // Alpine's own name is nobody's alias, though distributions list one.
    let own = |name: &str| name.parse::<Reference>().is_ok_and(|r| r.is_own());
    let aliases = raw.aliases.into_iter().filter(|(short, _)| !own(short));
    let aliases = aliases.map(|(short, name)| {
        alias(&short, &name).map_err(|why| failed(format!("[aliases] {short}: {why}")))
    });
    Ok(Document {
        entries: entries.collect::<Result<_>>()?,
        aliases: aliases.collect::<Result<_>>()?,
    })
}

fn entry(origin: &str, raw: RawRegistry) -> Result<Entry, String> {
    let location = raw.location.trim_end_matches('/');
    let prefix = match raw.prefix.trim_end_matches('/') {
        "" => location,
        prefix => prefix,
    };
    if prefix.is_empty() {
        return Err("it has neither prefix nor location".to_owned());
    }
    check_prefix(prefix)?;
    let location = match location {
        "" if prefix.starts_with('*') => None,
        "" => return Err("only an entry with a wildcard may lack a location".to_owned()),
        location if location == prefix => None,
        location => Some(Place::parse(location)?),
    };
    if !raw.pull_from_mirror.is_empty() {
        return Err("pull-from-mirror belongs to a mirror".to_owned());
    }
    let by_digest = raw.mirror_by_digest_only;
    let mirrors = raw.mirror.into_iter().map(|raw| mirror(raw, by_digest));
    Ok(Entry {
        prefix: prefix.to_owned(),
        location,
        insecure: raw.insecure,
        blocked: raw.blocked,
        mirrors: mirrors.collect::<Result<_, _>>()?,
        origin: origin.to_owned(),
    })
}

fn mirror(raw: RawMirror, by_digest: bool) -> Result<Mirror, String> {
    let answers = match (raw.pull_from_mirror.as_str(), by_digest) {
        ("", false) => Answers::All,
        ("", true) => Answers::Digests,
        (_, true) => {
            return Err(
                "mirror-by-digest-only and pull-from-mirror exclude one another".to_owned(),
            );
        }
        ("all", _) => Answers::All,
        ("digest-only", _) => Answers::Digests,
        ("tag-only", _) => Answers::Tags,
        (other, _) => {
            return Err(format!(
                "pull-from-mirror is {other:?}, expected all, digest-only or tag-only"
            ));
        }
    };
    let location = Place::parse(raw.location.trim_end_matches('/'))
        .map_err(|why| format!("its mirror: {why}"))?;
    Ok(Mirror {
        location,
        insecure: raw.insecure,
        answers,
    })
}

fn alias(short: &str, name: &str) -> Result<(String, Option<String>), String> {
    if Reference::short_name(short) != Some(short) {
        return Err("expected a name without host, tag and digest".to_owned());
    }
    if name.is_empty() {
        return Ok((short.to_owned(), None));
    }
    let full = name.parse::<Reference>().is_ok()
        && Reference::short_name(name).is_none()
        && !name.contains('@')
        && !name.rsplit('/').next().unwrap_or_default().contains(':');
    match full {
        true => Ok((short.to_owned(), Some(name.to_owned()))),
        false => Err(format!(
            "{name:?} is not a name with a host, and without tag and digest"
        )),
    }
}
