//! The path of a container's group: `linux.cgroupsPath` as it applies to this process and host.

use std::path::{Component, Path, PathBuf};

use super::delegation::delegated_to_us;
use super::host::{self, Host};
use super::systemd::Scope;
use crate::Error;

/// The path of a new group, and the scope that systemd has to make first.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    scope: Option<Scope>,
}

impl Place {
    /// Reads `linux.cgroupsPath`. A path is relative to the hierarchy's root, or to the group that was delegated to this process.
    /// `SLICE:PREFIX:NAME` requests a scope from systemd, on cgroup v2.
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
                    "a slice of systemd needs cgroup v2, and this host has v1; give a path such as /containers",
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

    /// The path below the hierarchy's root, the same for every process of this host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The scope that systemd has to make first.
    pub(super) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }
}

/// Makes a path relative to a hierarchy's root, and refuses one with `..`.
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
