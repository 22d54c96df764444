//! What hierarchies this host has.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// Where every distribution mounts cgroups.
const MOUNT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const V2: i64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC`.
const V1: i64 = 0x0027_e0eb;

/// The controllers of v1 that are used here, by the names of their hierarchies.
pub const CONTROLLERS: [&str; 9] = [
    "memory", "pids", "devices", "cpu", "cpuset", "blkio", "cpuacct", "freezer", "hugetlb",
];

/// How cgroups are mounted.
#[derive(Debug)]
pub enum Host {
    /// v2 alone, mounted here.
    Unified(PathBuf),
    /// v1, with or without a v2 hierarchy beside it.
    Legacy(Hierarchies),
    /// Neither, and why.
    Missing(String),
}

/// The v1 hierarchies. Each is looked at when it is asked for.
#[derive(Debug)]
pub struct Hierarchies(PathBuf);

impl Hierarchies {
    /// Where the hierarchy of one controller would be.
    pub fn expected(&self, controller: &str) -> PathBuf {
        self.0.join(controller)
    }

    /// The hierarchy of one controller.
    pub fn root(&self, controller: &str) -> Option<PathBuf> {
        let path = self.expected(controller);
        is_type(&path, V1).unwrap_or(false).then_some(path)
    }
}

/// Finds out, with one or two system calls.
pub fn detect() -> Host {
    detect_at(Path::new(MOUNT))
}

fn detect_at(mount: &Path) -> Host {
    match is_type(mount, V2) {
        Ok(true) => return Host::Unified(mount.to_owned()),
        Ok(false) => {}
        Err(error) => {
            let error = crate::error::Words(&error).to_string();
            return Host::Missing(format!("no cgroups at {}: {error}", mount.display()));
        }
    }
    let hierarchies = Hierarchies(mount.to_owned());
    if CONTROLLERS
        .iter()
        .any(|controller| hierarchies.root(controller).is_some())
    {
        return Host::Legacy(hierarchies);
    }
    Host::Missing(format!(
        "no cgroup hierarchy is mounted at {}",
        mount.display()
    ))
}

fn is_type(path: &Path, magic: i64) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast)] // the field's width differs between architectures
    Ok(statfs(path)?.f_type as i64 == magic)
}

/// The group of the calling process in the hierarchy of `controller`, or the unified one for the empty name,
/// from `/proc/self/cgroup` (cgroups(7)): relative to the hierarchy's root.
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
