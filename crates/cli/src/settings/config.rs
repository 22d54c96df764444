//! The configuration file, `config.toml` in the configuration directory. All settings are optional. An unknown key is an error, so that
//! a misspelt setting is not ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::files::ownership;
use crate::report::Failure;

/// `config.toml`.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Never use the network.
    pub offline: Option<bool>,
    /// `[pull]`.
    pub pull: Pull,
    /// `[cache]`.
    pub cache: Cache,
    /// `[run]`.
    pub run: Run,
    /// `[policy."PREFIX"]`: which images may be used, by the beginning of their names.
    pub policy: BTreeMap<String, Rule>,
}

/// What is demanded of images.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// What kind of rule this is.
    #[serde(rename = "type")]
    pub kind: RuleKind,
    /// PEM files with one public key each, of which one must have signed an image.
    #[serde(default)]
    pub keys: Vec<PathBuf>,
    /// What the names of images began with when they were signed, instead of the prefix.
    pub signed_as: Option<String>,
    /// Roots of certificates, which are not supported.
    #[serde(default)]
    pub roots: Vec<PathBuf>,
}

/// The kinds of rules.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// Accept every image.
    InsecureAccept,
    /// Refuse every image.
    Reject,
    /// Accept images that one of the keys signed.
    SignedBy,
}

/// The sources of images and their verification.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Pull {
    /// Mirrors in the order in which they are tried, instead of the default one.
    pub mirrors: Vec<String>,
    /// `prefer`, `require` or `off`.
    pub verify: Option<String>,
    /// PEM files with additional certificate authorities.
    pub ca_certs: Vec<PathBuf>,
}

/// Limits of the cache.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cache {
    /// A size such as `20G`. `box gc` removes the least recently used images beyond it.
    pub max_size: Option<String>,
}

/// Defaults of containers.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Run {
    /// `overlay` or `copy`, like `--storage`.
    pub storage: Option<box_containers::Storage>,
}

impl Config {
    /// Reads `config.toml` in `dir`. A missing file is like an empty one.
    pub fn read(dir: &Path) -> Result<Config, Failure> {
        let path = dir.join("config.toml");
        let hint = "it must belong to root or to you, and nobody else may have write access to it or to its directory";
        let Some(text) = ownership::read(&path, hint)? else {
            return Ok(Config::default());
        };
        Config::parse(&text).map_err(|why| {
            Failure::new(format!("{}: {why}", path.display()))
                .hint("docs/cli.md lists the settings")
        })
    }

    fn parse(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start].matches('\n').count() + 1);
            match line {
                Some(line) => format!("line {line}: {}", error.message()),
                None => error.message().to_owned(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_setting_is_read() {
        let config = Config::parse(
            "offline = true\n[pull]\nmirrors = ['file:///m']\nverify = 'require'\nca-certs = ['/ca.pem']\n\
             [cache]\nmax-size = '20G'\n[run]\nstorage = 'copy'\n\
             [policy.'ghcr.io/org']\ntype = 'signed-by'\nkeys = ['/org.pub']\nsigned-as = 'up.io/org'\n\
             [policy.'docker.io']\ntype = 'insecure-accept'\n[policy.'*']\ntype = 'reject'\n",
        )
        .unwrap();
        assert_eq!(config.offline, Some(true));
        assert_eq!(config.pull.mirrors, ["file:///m"]);
        assert_eq!(config.pull.verify.as_deref(), Some("require"));
        assert_eq!(config.cache.max_size.as_deref(), Some("20G"));
        assert_eq!(config.run.storage, Some(box_containers::Storage::Copy));
        let rule = &config.policy["ghcr.io/org"];
        assert_eq!(rule.kind, RuleKind::SignedBy);
        assert_eq!(rule.keys, [PathBuf::from("/org.pub")]);
        assert_eq!(rule.signed_as.as_deref(), Some("up.io/org"));
        assert_eq!(config.policy["docker.io"].kind, RuleKind::InsecureAccept);
        assert_eq!(config.policy["*"].kind, RuleKind::Reject);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        let why = Config::parse("[pull]\nmirors = []\n").unwrap_err();
        assert!(why.starts_with("line 2: unknown field `mirors`"), "{why}");
    }

    #[test]
    fn a_missing_file_is_like_an_empty_one() {
        let config = Config::read(Path::new("/nonexistent/box")).unwrap();
        assert_eq!(config, Config::default());
    }
}
