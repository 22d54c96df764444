//! Where a container's group is made: what `linux.cgroupsPath` means for this process on this host.

use std::path::{Component, Path, PathBuf};

use super::delegation::delegated_to_us;
use super::host::{self, Host};
use super::systemd::Scope;
use crate::Error;

/// The place of a group that is about to be made.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    scope: Option<Scope>,
}

impl Place {
    /// Reads `linux.cgroupsPath`. A path is meant below the hierarchy's root, or below the group that was delegated to
    /// this process; `SLICE:PREFIX:NAME` is a scope that systemd is asked for, on cgroup v2.
    pub fn of(cgroups_path: &Path) -> Result<Self, Error> {
        let host = host::detect();
        if let Some(scope) = Scope::parse(&cgroups_path.to_string_lossy())? {
            return match host {
                Host::Unified(_) => Ok(Self {
                    path: scope.group(),
                    scope: Some(scope),
                }),
                Host::Legacy(_) => Err(refused(
                    cgroups_path,
                    "a slice of systemd can be had on cgroup v2 alone, and this host has v1; give a path such as /containers",
                )),
                Host::Missing(reason) => Err(refused(cgroups_path, &reason)),
            };
        }
        let path = below_root(cgroups_path)?;
        Ok(Self {
            path: match host {
                Host::Unified(root) => delegated_to_us(&root).join(path),
                Host::Legacy(_) | Host::Missing(_) => path,
            },
            scope: None,
        })
    }

    /// Below the hierarchy's root, the same for every process of this host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The scope that must be asked for first.
    pub(super) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }
}

/// Refuses paths that lead elsewhere, and makes the rest relative to a hierarchy's root.
pub fn below_root(path: &Path) -> Result<PathBuf, Error> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(path, "it must not contain \"..\""));
            }
        }
    }
    if normal.as_os_str().is_empty() {
        return Err(refused(path, "it must name a group below the root"));
    }
    Ok(normal)
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::spec(
        "linux.cgroupsPath",
        format!("{:?}: {reason}", path.to_string_lossy()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for bad in ["/", "", "/../x", "a/../../b"] {
            assert!(below_root(Path::new(bad)).is_err(), "{bad:?}");
        }
        let normal = below_root(Path::new("/a/./b")).unwrap();
        assert_eq!(normal, PathBuf::from("a/b"));
    }
}
