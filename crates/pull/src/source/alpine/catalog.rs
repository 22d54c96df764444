//! What the mirrors have for one architecture.

use box_cache::{Digest, Reference, Verified};
use box_transfer::{Attempts, Cause};

use super::arch::alpine_arch;
use super::error::{AlpineError, Alternatives};
use super::releases::{self, Release, file_name};
use super::sidecar;
use super::version::{Branch, Version};
use crate::error::{Error, Result};
use crate::mirror::Mirrors;
use crate::resolved::{Descriptor, Proof, Resolved};
use crate::source::{Offer, Query};

/// Largest release list that is read, in bytes; the real ones have a few kilobytes.
const LIST_LIMIT: u64 = 1 << 20;
/// Largest file that stands for a link to a branch, in bytes.
const LINK_LIMIT: u64 = 32;

/// Alpine's releases for one architecture, on behalf of one reference.
pub struct Catalog<'a> {
    pub(super) reference: &'a Reference,
    pub(super) arch: &'static str,
    pub(super) mirrors: &'a Mirrors<'a>,
}

impl<'a> Catalog<'a> {
    pub fn of(query: &Query<'a>) -> Result<Self> {
        let arch = alpine_arch(query.platform).ok_or_else(|| AlpineError::UnknownPlatform {
            reference: query.reference.to_string(),
            platform: query.platform.to_string(),
        })?;
        Ok(Self {
            reference: query.reference,
            arch,
            mirrors: query.mirrors,
        })
    }

    /// Path of a file beside the release list of a branch.
    pub(super) fn path(&self, branch: &Branch, file: &str) -> String {
        format!("{branch}/releases/{}/{file}", self.arch)
    }

    /// A release as what the reference stands for.
    pub fn resolved(&self, release: &Release) -> Resolved {
        // Under the branch's own name: latest-stable may lead elsewhere before the tarball is requested.
        let path = self.path(&release.branch, &release.file);
        Resolved {
            version: release.version.to_string(),
            proof: Proof {
                signature: Some(self.mirrors.sidecar(format!("{path}.asc"))),
                digests: Verified::Checksum,
            },
            layers: vec![Descriptor {
                locations: self.mirrors.locations(&path),
                name: path,
                digest: release.sha256,
                sha512: release.sha512,
                size: release.size,
                media_type: None,
                diff_id: None,
            }],
            current: true,
            searched: Vec::new(),
            served: None,
        }
    }

    /// The newest release of a branch.
    pub fn newest(&self, branch: &Branch) -> Result<Release> {
        match self.list(branch)? {
            Ok(release) => Ok(release),
            Err(attempts) if attempts.is_absent() => {
                // A copy of a mirror made without links has a small file instead of this one.
                if branch.is_latest_stable()
                    && let Some(target) = self.link(branch)?
                {
                    return self.newest(&target);
                }
                Err(self.no_list(branch, attempts)?)
            }
            Err(attempts) => Err(Error::Unreachable {
                what: self.path(branch, releases::LIST),
                attempts,
            }),
        }
    }

    /// The newest stable release, if its major number is this one.
    pub fn newest_of_major(&self, major: u32) -> Result<Release> {
        let release = self.newest(&Branch::latest_stable())?;
        match release.version.as_str().starts_with(&format!("{major}.")) {
            true => Ok(release),
            false => Err(self.missing(
                format!("no version {major}"),
                Alternatives::Only(format!("latest-stable is {}", release.version)),
                Attempts::default(),
            )),
        }
    }

    /// The newest release of a branch, by its release list.
    pub(super) fn list(&self, branch: &Branch) -> Result<Result<Release, Attempts>> {
        let path = self.path(branch, releases::LIST);
        let got = self.mirrors.document(&path, LIST_LIMIT, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let listed = releases::parse(&text, self.arch).and_then(|release| {
                match branch.is_latest_stable() || release.branch == *branch {
                    true => Ok(release),
                    false => Err(format!(
                        "it is of branch {}, expected {branch}",
                        release.branch
                    )),
                }
            });
            listed.map_err(|why| Cause::Malformed {
                what: "release list",
                why,
            })
        })?;
        Ok(got.map(|(release, url)| {
            tracing::debug!(%url, version = %release.version, "read a release list");
            release
        }))
    }

    /// The branch that is named by a file that stands for a link.
    pub(super) fn link(&self, branch: &Branch) -> Result<Option<Branch>> {
        let got = self
            .mirrors
            .document(branch.as_str(), LINK_LIMIT, |bytes| {
                let name = std::str::from_utf8(bytes).unwrap_or_default().trim();
                Branch::parse(name)
                    .filter(|target| !target.is_latest_stable())
                    .ok_or(Cause::Absent)
            })?;
        Ok(got.ok().map(|(target, _)| target))
    }

    /// Exactly one release, by the checksum files beside its tarball.
    pub fn exactly(&self, branch: &Branch, version: &Version) -> Result<Release> {
        let file = file_name(version, self.arch);
        let sha256 = match self.checksum(branch, &file, "sha256")? {
            Ok(digest) => digest,
            Err(attempts) if attempts.is_absent() => {
                return Err(self.no_version(branch, version, attempts)?);
            }
            Err(attempts) => return Err(self.unreachable(branch, &file, attempts)),
        };
        let sha512 = match self.checksum(branch, &file, "sha512")? {
            Ok(digest) => Some(digest),
            // Releases before 3.5 have none.
            Err(attempts) if attempts.is_absent() => None,
            Err(attempts) => return Err(self.unreachable(branch, &file, attempts)),
        };
        Ok(Release {
            branch: branch.clone(),
            version: version.clone(),
            file,
            size: None,
            sha256,
            sha512,
        })
    }

    fn unreachable(&self, branch: &Branch, file: &str, attempts: Attempts) -> Error {
        Error::Unreachable {
            what: format!("the checksums of {}", self.path(branch, file)),
            attempts,
        }
    }

    /// The digest in a checksum file beside a tarball.
    pub(super) fn checksum(
        &self,
        branch: &Branch,
        file: &str,
        algorithm: &'static str,
    ) -> Result<Result<Digest, Attempts>> {
        let path = self.path(branch, &format!("{file}.{algorithm}"));
        let got = self.mirrors.document(&path, sidecar::LIMIT, |bytes| {
            sidecar::parse(bytes, algorithm, file).map_err(|why| Cause::Malformed {
                what: "checksum file",
                why,
            })
        })?;
        Ok(got.map(|(digest, _)| digest))
    }

    /// Versions of a branch on the mirror, oldest first; none if it lists nothing.
    pub(super) fn versions(&self, branch: &Branch) -> Result<Vec<Version>> {
        let names = self.mirrors.listing(&self.path(branch, ""))?;
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

    /// Branches on the mirror, oldest first; none if it lists nothing.
    pub(super) fn branches(&self) -> Result<Vec<Branch>> {
        let names = self.mirrors.listing("")?.unwrap_or_default();
        let mut branches: Vec<Branch> = names.iter().filter_map(|n| Branch::parse(n)).collect();
        branches.sort();
        branches.dedup();
        Ok(branches)
    }

    /// Everything on the mirror. If it lists nothing: what the release lists of the moving branches name.
    pub fn offers(&self) -> Result<Vec<Offer>> {
        let mut branches = self.branches()?;
        branches.retain(|branch| !branch.is_latest_stable());
        if branches.is_empty() {
            // If this fails, all would: the mirrors do not answer, or have nothing of Alpine's.
            let stable = self.newest(&Branch::latest_stable())?;
            branches = vec![stable.branch];
            branches.extend(Branch::parse("edge"));
        }
        let mut offers = Vec::new();
        for branch in branches {
            let listed = self.list(&branch)?.ok();
            let newest = listed.map(|release| release.version);
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
