//! Alpine Linux: release lists and tarballs, as on every Alpine mirror.
//!
//! `<branch>/releases/<arch>/latest-releases.yaml` lists the newest release of a branch; every release of the branch
//! lies beside it as `alpine-minirootfs-<version>-<arch>.tar.gz`, with `.sha256`, `.sha512` and (hours later at times)
//! `.asc` beside each.

mod absence;
mod releases;
mod sidecar;
mod version;

use box_cache::{Digest, Platform, Reference};

use super::{Ask, Offer, Release, Source};
use crate::error::{Cause, Error, Known, Result, Tried};
use crate::fetch::Fetcher;
use crate::foreign::Foreign;
use crate::platform::alpine_arch;
use releases::{Listed, file_name};
use version::{Branch, Version, Wanted};

/// Largest release list that is read; the real ones are a few kilobytes.
const LIST_LIMIT: u64 = 1 << 20;
/// Largest file that stands for a link to a branch.
const LINK_LIMIT: u64 = 32;
/// Branches whose newest release is looked at for one of a given digest, newest first.
const MOST_BRANCHES: usize = 16;
/// Releases of a branch that are looked through for one of a given digest, newest first.
const MOST_SEARCHED: usize = 32;

/// Alpine's releases.
pub struct Alpine;

impl Source for Alpine {
    fn serves(&self, name: &str) -> bool {
        name == "alpine"
    }

    fn resolve(&self, ask: &Ask<'_>, fetcher: &Fetcher<'_>) -> Result<Release> {
        let place = Place::of(ask, fetcher)?;
        let tag = ask.reference.tag();
        let wanted = Wanted::from_tag(tag).ok_or_else(|| Error::UnknownTag {
            reference: ask.reference.to_string(),
            tag: Foreign::new(tag.unwrap_or_default()),
        })?;
        let release = match &wanted {
            Wanted::Newest(branch) => place.newest(branch)?,
            Wanted::Major(major) => place.newest_of_major(*major)?,
            Wanted::Exactly(branch, version) => return place.exactly(branch, version),
        };
        match ask.reference.digest() {
            Some(demanded) if *demanded != release.sha256 => {
                place.search(release, demanded, tag.is_none())
            }
            _ => Ok(release),
        }
    }

    fn offers(&self, platform: &Platform, fetcher: &Fetcher<'_>) -> Result<Vec<Offer>> {
        let reference = "alpine".parse::<Reference>()?;
        let ask = Ask {
            reference: &reference,
            platform,
        };
        Place::of(&ask, fetcher)?.offers()
    }
}

/// One architecture on the mirrors, and for whom it is looked at.
struct Place<'a> {
    reference: &'a Reference,
    arch: &'static str,
    fetcher: &'a Fetcher<'a>,
}

impl<'a> Place<'a> {
    fn of(ask: &Ask<'a>, fetcher: &'a Fetcher<'a>) -> Result<Self> {
        let arch = alpine_arch(ask.platform).ok_or_else(|| Error::UnknownPlatform {
            reference: ask.reference.to_string(),
            platform: ask.platform.to_string(),
        })?;
        Ok(Self {
            reference: ask.reference,
            arch,
            fetcher,
        })
    }

    /// Path of a file beside the release list of a branch.
    fn path(&self, branch: &Branch, file: &str) -> String {
        format!("{branch}/releases/{}/{file}", self.arch)
    }

    /// The newest release of a branch.
    fn newest(&self, branch: &Branch) -> Result<Release> {
        Ok(self.release(self.list(branch)?))
    }

    fn release(&self, listed: Listed) -> Release {
        Release {
            version: listed.version.to_string(),
            // Under the branch's own name: where latest-stable leads may change before the tarball is asked for.
            path: self.path(&listed.branch, &listed.file),
            size: Some(listed.size),
            sha256: listed.sha256,
            sha512: Some(listed.sha512),
            current: true,
            searched: Vec::new(),
        }
    }

    fn newest_of_major(&self, major: u32) -> Result<Release> {
        let release = self.newest(&Branch::latest_stable())?;
        match release.version.starts_with(&format!("{major}.")) {
            true => Ok(release),
            false => Err(self.missing(
                format!("no version {major}"),
                Known::Only(format!("latest-stable is {}", release.version)),
                Tried::default(),
            )),
        }
    }

    /// The release list of a branch.
    fn list(&self, branch: &Branch) -> Result<Listed> {
        match self.list_at(branch)? {
            Ok(listed) => Ok(listed),
            Err(tried) if tried.is_absent() => {
                // A copy of a mirror made without links has a small file in the place of this one.
                if branch.is_latest_stable()
                    && let Some(target) = self.link(branch)?
                {
                    return self.list(&target);
                }
                Err(self.no_list(branch, tried)?)
            }
            Err(tried) => Err(Error::Unreachable {
                what: self.path(branch, "latest-releases.yaml"),
                tried,
            }),
        }
    }

    fn list_at(&self, branch: &Branch) -> Result<Result<Listed, Tried>> {
        let path = self.path(branch, "latest-releases.yaml");
        let got = self.fetcher.document(&path, LIST_LIMIT, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let listed = releases::parse(&text, self.arch).and_then(|listed| {
                match branch.is_latest_stable() || listed.branch == *branch {
                    true => Ok(listed),
                    false => Err(format!(
                        "it is of branch {}, expected {branch}",
                        listed.branch
                    )),
                }
            });
            listed.map_err(|why| Cause::Malformed {
                what: "release list",
                why,
            })
        })?;
        Ok(got.map(|(listed, url)| {
            tracing::debug!(%url, version = %listed.version, "release list read");
            listed
        }))
    }

    /// The branch that a file in the place of a link names.
    fn link(&self, branch: &Branch) -> Result<Option<Branch>> {
        let got = self
            .fetcher
            .document(branch.as_str(), LINK_LIMIT, |bytes| {
                let name = std::str::from_utf8(bytes).unwrap_or_default().trim();
                Branch::parse(name)
                    .filter(|target| !target.is_latest_stable())
                    .ok_or(Cause::Absent)
            })?;
        Ok(got.ok().map(|(target, _)| target))
    }

    /// Exactly one release, by the checksum files beside its tarball.
    fn exactly(&self, branch: &Branch, version: &Version) -> Result<Release> {
        let file = file_name(version, self.arch);
        let sha256 = match self.checksum(branch, &file, "sha256")? {
            Ok(digest) => digest,
            Err(tried) if tried.is_absent() => {
                return Err(self.no_version(branch, version, tried)?);
            }
            Err(tried) => return Err(self.unreachable(branch, &file, tried)),
        };
        let sha512 = match self.checksum(branch, &file, "sha512")? {
            Ok(digest) => Some(digest),
            // Releases before 3.5 have none.
            Err(tried) if tried.is_absent() => None,
            Err(tried) => return Err(self.unreachable(branch, &file, tried)),
        };
        Ok(Release {
            version: version.to_string(),
            path: self.path(branch, &file),
            size: None,
            sha256,
            sha512,
            current: true,
            searched: Vec::new(),
        })
    }

    fn unreachable(&self, branch: &Branch, file: &str, tried: Tried) -> Error {
        Error::Unreachable {
            what: format!("the checksums of {}", self.path(branch, file)),
            tried,
        }
    }

    fn checksum(
        &self,
        branch: &Branch,
        file: &str,
        algorithm: &'static str,
    ) -> Result<Result<Digest, Tried>> {
        let path = self.path(branch, &format!("{file}.{algorithm}"));
        let got = self.fetcher.document(&path, sidecar::LIMIT, |bytes| {
            sidecar::parse(bytes, algorithm, file).map_err(|why| Cause::Malformed {
                what: "checksum file",
                why,
            })
        })?;
        Ok(got.map(|(digest, _)| digest))
    }

    /// The release whose tarball has the digest demanded: an older one of the branch, or, where the branch was not said,
    /// the newest of another one. Where there is none it is `newest`: the digest may be that of its manifest.
    fn search(&self, newest: Release, demanded: &Digest, everywhere: bool) -> Result<Release> {
        if let Some(found) = self.by_digest(&newest, demanded)? {
            return Ok(found);
        }
        let own = newest.path.split('/').next().unwrap_or_default();
        let mut searched = vec![own.to_owned()];
        let mut branches = match everywhere {
            true => self.branches()?,
            false => Vec::new(),
        };
        branches.retain(|branch| branch.as_str() != own && !branch.is_latest_stable());
        for branch in branches.iter().rev().take(MOST_BRANCHES) {
            if let Ok(listed) = self.list_at(branch)? {
                if listed.sha256 == *demanded {
                    return Ok(Release {
                        current: false,
                        ..self.release(listed)
                    });
                }
                searched.push(branch.to_string());
            }
        }
        Ok(Release { searched, ..newest })
    }

    /// An older release of the same branch whose tarball has the digest demanded, if the mirror lists them.
    fn by_digest(&self, newest: &Release, demanded: &Digest) -> Result<Option<Release>> {
        let Some(branch) = newest.path.split('/').next().and_then(Branch::parse) else {
            return Ok(None);
        };
        for version in self.versions(&branch)?.iter().rev().take(MOST_SEARCHED) {
            if version.as_str() == newest.version {
                continue;
            }
            let file = file_name(version, self.arch);
            if self
                .checksum(&branch, &file, "sha256")?
                .is_ok_and(|d| d == *demanded)
            {
                let release = self.exactly(&branch, version)?;
                return Ok(Some(Release {
                    current: false,
                    ..release
                }));
            }
        }
        Ok(None)
    }

    /// Versions of a branch that lie on the mirror, oldest first; none where it lists nothing.
    fn versions(&self, branch: &Branch) -> Result<Vec<Version>> {
        let names = self.fetcher.listing(&self.path(branch, ""))?;
        let mut versions: Vec<Version> = names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| {
                let rest = name.strip_prefix(releases::MINIROOTFS)?.strip_prefix('-')?;
                let version = rest.strip_suffix(".tar.gz")?.strip_suffix(self.arch)?;
                Version::parse(version.strip_suffix('-')?)
            })
            .collect();
        versions.sort();
        versions.dedup();
        Ok(versions)
    }

    /// Branches that lie on the mirror, oldest first; none where it lists nothing.
    fn branches(&self) -> Result<Vec<Branch>> {
        let names = self.fetcher.listing("")?.unwrap_or_default();
        let mut branches: Vec<Branch> = names.iter().filter_map(|n| Branch::parse(n)).collect();
        branches.sort();
        branches.dedup();
        Ok(branches)
    }

    /// Everything on the mirror; where it lists nothing, what its release lists of the moving branches name.
    fn offers(&self) -> Result<Vec<Offer>> {
        let mut branches = self.branches()?;
        branches.retain(|branch| !branch.is_latest_stable());
        if branches.is_empty() {
            // The error of this one is the error of all: the mirrors do not answer, or have nothing of Alpine's.
            let stable = self.list(&Branch::latest_stable())?;
            branches = vec![stable.branch];
            branches.extend(Branch::parse("edge"));
        }
        let mut offers = Vec::new();
        for branch in branches {
            let listed = self.list_at(&branch)?.ok();
            let newest = listed.map(|listed| listed.version);
            let mut versions = self.versions(&branch)?;
            versions.extend(newest.clone());
            versions.sort();
            versions.dedup();
            offers.extend(versions.into_iter().map(|version| Offer {
                branch: branch.to_string(),
                newest: Some(&version) == newest.as_ref(),
                version: version.to_string(),
            }));
        }
        Ok(offers)
    }
}
