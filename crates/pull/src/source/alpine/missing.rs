//! Describing what exists instead of what is missing.

use box_transfer::Attempts;

use super::catalog::Catalog;
use super::error::{AlpineError, Alternatives};
use super::version::{Branch, Version};
use crate::error::{Error, Result};

impl Catalog<'_> {
    /// Why a branch has no release list: there is no such branch, or it is not built for this architecture.
    pub(super) fn no_list(&self, branch: &Branch, attempts: Attempts) -> Result<Error> {
        let branches = self.branches()?;
        if !branches.is_empty() && !branches.contains(branch) {
            let names = branches.iter().map(Branch::to_string).collect();
            return Ok(self.missing(
                format!("no branch {branch}"),
                listed("branches", names),
                attempts,
            ));
        }
        let arches = self.mirrors.listing(&format!("{branch}/releases/"))?;
        Ok(match arches {
            Some(names) => {
                let names: Vec<String> = names.into_iter().filter(|name| is_arch(name)).collect();
                self.missing(
                    format!("no {} in {branch}", self.arch),
                    listed(&format!("architectures of {branch}"), names),
                    attempts,
                )
            }
            None => {
                let alternatives = self.stable()?;
                let missing = format!("no release list of {branch}");
                self.missing(missing, alternatives, attempts)
            }
        })
    }

    /// Why a version does not exist.
    pub(super) fn no_version(
        &self,
        branch: &Branch,
        version: &Version,
        attempts: Attempts,
    ) -> Result<Error> {
        let missing = format!("no version {version}");
        let versions = self.versions(branch)?;
        if !versions.is_empty() {
            let names = versions.iter().map(Version::to_string).collect();
            let alternatives = listed(&format!("versions of {branch}"), names);
            return Ok(self.missing(missing, alternatives, attempts));
        }
        // Without a listing, the release list still names one version.
        if let Ok(newest) = self.list(branch)? {
            let newest = format!("the newest of {branch} is {}", newest.version);
            return Ok(self.missing(missing, Alternatives::Only(newest), attempts));
        }
        self.no_list(branch, attempts)
    }

    /// The error for what does not exist.
    pub(super) fn missing(
        &self,
        missing: String,
        alternatives: Alternatives,
        attempts: Attempts,
    ) -> Error {
        AlpineError::NotFound {
            reference: self.reference.to_string(),
            arch: self.arch,
            missing,
            alternatives: Box::new(alternatives),
            attempts,
        }
        .into()
    }

    /// What is known of a mirror that lists nothing.
    fn stable(&self) -> Result<Alternatives> {
        let stable = Branch::latest_stable();
        let newest = match self.list(&stable)? {
            Ok(newest) => Some(newest),
            Err(_) => match self.link(&stable)? {
                Some(target) => self.list(&target)?.ok(),
                None => None,
            },
        };
        Ok(newest.map_or(Alternatives::Unknown, |newest| {
            Alternatives::Only(format!("latest-stable is {}", newest.branch))
        }))
    }
}

fn listed(what: &str, names: Vec<String>) -> Alternatives {
    match names.is_empty() {
        true => Alternatives::Unknown,
        false => Alternatives::Listed {
            what: what.to_owned(),
            names,
        },
    }
}

/// Whether a name among those of architectures is that of an architecture, too.
fn is_arch(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= 20 && name.bytes().all(plain)
}
