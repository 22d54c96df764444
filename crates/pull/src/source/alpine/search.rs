//! Finding a release by the digest of its tarball.

use box_cache::Digest;

use super::catalog::Catalog;
use super::releases::{Release, file_name};
use crate::error::Result;
use crate::resolved::Resolved;

/// Branches whose newest release is compared with a digest, newest first.
const MOST_BRANCHES: usize = 16;
/// Releases of a branch that are compared with a digest, newest first.
const MOST_RELEASES: usize = 32;

impl Catalog<'_> {
    /// The release whose tarball has the digest demanded: an older one of the branch, or, if the reference names no branch,
    /// the newest of another branch. Without success it is `newest`: the digest may be that of its manifest.
    pub fn search(
        &self,
        newest: &Release,
        demanded: &Digest,
        everywhere: bool,
    ) -> Result<Resolved> {
        if let Some(found) = self.by_digest(newest, demanded)? {
            return Ok(self.past(&found));
        }
        let own = &newest.branch;
        let mut searched = vec![own.to_string()];
        let mut branches = match everywhere {
            true => self.branches()?,
            false => Vec::new(),
        };
        branches.retain(|branch| branch != own && !branch.is_latest_stable());
        for branch in branches.iter().rev().take(MOST_BRANCHES) {
            if let Ok(release) = self.list(branch)? {
                if release.sha256 == *demanded {
                    return Ok(self.past(&release));
                }
                searched.push(branch.to_string());
            }
        }
        Ok(Resolved {
            searched,
            ..self.resolved(newest)
        })
    }

    /// A release that is not what the tag means now.
    fn past(&self, release: &Release) -> Resolved {
        Resolved {
            current: false,
            ..self.resolved(release)
        }
    }

    /// An older release of the same branch whose tarball has the digest demanded, if the mirror lists them.
    fn by_digest(&self, newest: &Release, demanded: &Digest) -> Result<Option<Release>> {
        let branch = &newest.branch;
        for version in self.versions(branch)?.iter().rev().take(MOST_RELEASES) {
            if *version == newest.version {
                continue;
            }
            let file = file_name(version, self.arch);
            let digest = self.checksum(branch, &file, "sha256")?;
            if digest.is_ok_and(|digest| digest == *demanded) {
                return self.exactly(branch, version).map(Some);
            }
        }
        Ok(None)
    }
}
