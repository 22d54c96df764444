//! Saying what exists where something does not.

use super::{Branch, Place, Version};
use crate::error::{Error, Known, Result, Tried};

impl Place<'_> {
    /// Why a branch has no release list: there is no such branch, or it is not built for this architecture.
    pub(super) fn no_list(&self, branch: &Branch, tried: Tried) -> Result<Error> {
        let branches = self.branches()?;
        if !branches.is_empty() && !branches.contains(branch) {
            let names = branches.iter().map(Branch::to_string).collect();
            return Ok(self.missing(
                format!("no branch {branch}"),
                listed("branches", names),
                tried,
            ));
        }
        let arches = self.fetcher.listing(&format!("{branch}/releases/"))?;
        Ok(match arches {
            Some(names) => {
                let names: Vec<String> = names.into_iter().filter(|name| is_arch(name)).collect();
                self.missing(
                    format!("no {} in {branch}", self.arch),
                    listed(&format!("architectures of {branch}"), names),
                    tried,
                )
            }
            None => {
                let known = self.stable()?;
                self.missing(format!("no release list of {branch}"), known, tried)
            }
        })
    }

    /// Why a version is not there.
    pub(super) fn no_version(
        &self,
        branch: &Branch,
        version: &Version,
        tried: Tried,
    ) -> Result<Error> {
        let versions = self.versions(branch)?;
        if !versions.is_empty() {
            let names = versions.iter().map(Version::to_string).collect();
            return Ok(self.missing(
                format!("no version {version}"),
                listed(&format!("versions of {branch}"), names),
                tried,
            ));
        }
        // Without a listing, the release list still names one version.
        if let Ok(newest) = self.list_at(branch)? {
            let known = Known::Only(format!("the newest of {branch} is {}", newest.version));
            return Ok(self.missing(format!("no version {version}"), known, tried));
        }
        self.no_list(branch, tried)
    }

    /// The error for what does not exist.
    pub(super) fn missing(&self, missing: String, known: Known, tried: Tried) -> Error {
        Error::NotFound {
            reference: self.reference.to_string(),
            arch: self.arch,
            missing,
            known: Box::new(known),
            tried,
        }
    }

    /// What is known of a mirror that lists nothing.
    fn stable(&self) -> Result<Known> {
        let stable = Branch::latest_stable();
        let listed = match self.list_at(&stable)? {
            Ok(listed) => Some(listed),
            Err(_) => match self.link(&stable)? {
                Some(target) => self.list_at(&target)?.ok(),
                None => None,
            },
        };
        Ok(listed.map_or(Known::Nothing, |listed| {
            Known::Only(format!("latest-stable is {}", listed.branch))
        }))
    }
}

fn listed(what: &str, names: Vec<String>) -> Known {
    match names.is_empty() {
        true => Known::Nothing,
        false => Known::Listed {
            what: what.to_owned(),
            names,
        },
    }
}

/// Whether the name of a directory beside those of architectures is one of an architecture too.
fn is_arch(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= 20 && name.bytes().all(plain)
}
