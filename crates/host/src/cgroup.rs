//! How this host mounts control groups, cgroups(7).

use std::io;
use std::path::Path;

use rustix::fs::statfs;

/// Where every distribution mounts control groups.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// The controllers of v1 that confine containers, by the names of the directories that distributions mount them on. `memory` comes
/// first: a host that has v1 at all nearly always has it.
pub const V1_CONTROLLERS: [&str; 9] = [
    "memory", "pids", "devices", "cpu", "cpuset", "blkio", "cpuacct", "freezer", "hugetlb",
];

/// Which hierarchies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// v2 alone: every controller is on it.
    Unified,
    /// Controllers on v1, and a v2 hierarchy beside them for systemd.
    Hybrid,
    /// v1 alone.
    Legacy,
}

impl Layout {
    /// Finds out how control groups are mounted below `mount`, nearly always [`MOUNT`]; `None` if they are not. Takes one statfs(2) on a
    /// unified host and three on others, as reading the table of mounts costs more than making a control group.
    pub fn at(mount: &Path) -> io::Result<Option<Self>> {
        if is_type(mount, V2)? {
            return Ok(Some(Self::Unified));
        }
        if !V1_CONTROLLERS
            .iter()
            .any(|controller| is_v1_hierarchy(&mount.join(controller)))
        {
            return Ok(None);
        }
        let hybrid = is_type(&mount.join("unified"), V2).unwrap_or(false);
        Ok(Some(if hybrid { Self::Hybrid } else { Self::Legacy }))
    }
}

/// Whether every controller is on v2: one statfs(2) of [`MOUNT`].
pub fn is_unified() -> bool {
    is_type(Path::new(MOUNT), V2).unwrap_or(false)
}

/// Whether a hierarchy of v1 is mounted at `path`.
pub fn is_v1_hierarchy(path: &Path) -> bool {
    is_type(path, V1).unwrap_or(false)
}

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const V2: i64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC`.
const V1: i64 = 0x0027_e0eb;

fn is_type(path: &Path, magic: i64) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast)] // the field's width differs between architectures
    Ok(statfs(path)?.f_type as i64 == magic)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_without_hierarchies_is_no_layout() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Layout::at(empty.path()).unwrap(), None);
        std::fs::create_dir(empty.path().join("memory")).unwrap();
        assert_eq!(Layout::at(empty.path()).unwrap(), None);
        let absent = Layout::at(&empty.path().join("absent")).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_layout_of_this_host_agrees_with_its_table_of_mounts() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let is = |place: &str, name: &str| {
            mounts
                .lines()
                .rfind(|line| line.split(' ').nth(1) == Some(place))
                .is_some_and(|line| line.split(' ').nth(2) == Some(name))
        };
        let expected = if is(MOUNT, "cgroup2") {
            Some(Layout::Unified)
        } else if !V1_CONTROLLERS
            .iter()
            .any(|name| is(&format!("{MOUNT}/{name}"), "cgroup"))
        {
            None
        } else if is(&format!("{MOUNT}/unified"), "cgroup2") {
            Some(Layout::Hybrid)
        } else {
            Some(Layout::Legacy)
        };
        assert_eq!(Layout::at(Path::new(MOUNT)).unwrap_or(None), expected);
        assert_eq!(is_unified(), expected == Some(Layout::Unified));
    }
}
