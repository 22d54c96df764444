//! The hierarchies of this host.

use std::io;
use std::path::{Path, PathBuf};

use box_host::Reason;
pub use box_host::cgroup::V1_CONTROLLERS as CONTROLLERS;
use box_host::cgroup::{Layout, MOUNT, is_v1_hierarchy};

/// How control groups are mounted.
#[derive(Debug)]
pub enum Host {
    /// v2 only, mounted here.
    Unified(PathBuf),
    /// v1, with or without a v2 hierarchy beside it.
    Legacy(Hierarchies),
    /// Neither, for this reason.
    Missing(String),
}

/// The v1 hierarchies. Each is probed on demand.
#[derive(Debug)]
pub struct Hierarchies(PathBuf);

impl Hierarchies {
    /// The path at which the hierarchy of a controller is expected.
    pub fn expected(&self, controller: &str) -> PathBuf {
        self.0.join(controller)
    }

    /// The path of a controller's hierarchy, if it is mounted.
    pub fn root(&self, controller: &str) -> Option<PathBuf> {
        let path = self.expected(controller);
        is_v1_hierarchy(&path).then_some(path)
    }
}

/// Finds out how this host mounts control groups.
pub fn detect() -> Host {
    detect_at(Path::new(MOUNT))
}

fn detect_at(mount: &Path) -> Host {
    match Layout::at(mount) {
        Ok(Some(Layout::Unified)) => Host::Unified(mount.to_owned()),
        Ok(Some(Layout::Hybrid | Layout::Legacy)) => Host::Legacy(Hierarchies(mount.to_owned())),
        Ok(None) => Host::Missing(format!(
            "no cgroup hierarchy is mounted at {}",
            mount.display()
        )),
        Err(error) => Host::Missing(format!(
            "no cgroups at {}: {}",
            mount.display(),
            Reason(&error)
        )),
    }
}

/// The group of the calling process in the hierarchy of `controller`, or in the unified one for an empty name, relative to the
/// hierarchy's root. From `/proc/self/cgroup`, cgroups(7).
pub fn own_group(controller: &str) -> io::Result<Option<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    Ok(parse_own_group(&text, controller))
}

fn parse_own_group(text: &str, controller: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let matches = controllers.split(',').any(|name| name == controller);
        matches.then(|| PathBuf::from(path.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_group_is_found_by_controller_in_both_forms() {
        let hybrid = "4:memory:/process/a\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/unified/b:c\n";
        assert_eq!(
            parse_own_group(hybrid, "memory"),
            Some(PathBuf::from("process/a"))
        );
        assert_eq!(parse_own_group(hybrid, "cpuacct"), Some(PathBuf::new()));
        assert_eq!(
            parse_own_group(hybrid, ""),
            Some(PathBuf::from("unified/b:c"))
        );
        assert_eq!(parse_own_group(hybrid, "pids"), None);
        assert_eq!(parse_own_group("garbage\n::", "pids"), None);
    }

    #[test]
    fn a_host_without_cgroups_says_where_it_looked() {
        let empty = tempfile::tempdir().expect("a temporary directory");
        let Host::Missing(reason) = detect_at(empty.path()) else {
            panic!("found cgroups in an empty directory")
        };
        assert!(
            reason.contains(&empty.path().display().to_string()),
            "{reason}"
        );
        let Host::Missing(reason) = detect_at(&empty.path().join("absent")) else {
            panic!("found cgroups nowhere")
        };
        assert!(reason.ends_with("no such file or directory"), "{reason}");
    }
}
