//! User namespaces: the host ids of a container, and mounts that are mapped to them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::sys::mount::{Attributes, set_attributes};
use crate::sys::process::{self, Cloned};

/// `(uid_t) -1`: no id, but for the kernel "leave it as it is", credentials(7).
pub const NO_ID: u32 = u32::MAX;

/// The maps of a user namespace, as /proc/PID/uid_map and gid_map take them, user_namespaces(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    uids: String,
    gids: String,
    /// User and group id of the container's root on the host.
    root: (u32, u32),
}

impl IdMap {
    /// Checks the maps of a spec.
    pub fn plan(linux: &Linux) -> Result<Self, Error> {
        let text = |field: &str, maps: &Option<Vec<LinuxIdMapping>>| {
            let maps = maps.as_deref().unwrap_or(&[]);
            let has_root = maps
                .iter()
                .any(|map| map.container_id() == 0 && map.size() > 0);
            let fits = |map: &LinuxIdMapping| {
                let end = |first: u32| first.checked_add(map.size()).is_some();
                map.size() > 0 && end(map.host_id()) && end(map.container_id())
            };
            if !has_root || !maps.iter().all(fits) {
                return Err(Error::spec(
                    field,
                    "a user namespace needs id maps that include root and stay in range",
                ));
            }
            let lines = maps
                .iter()
                .map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size()));
            Ok(lines.collect())
        };
        let root = |maps: &Option<Vec<LinuxIdMapping>>| {
            let mut maps = maps.iter().flatten();
            maps.find(|map| map.container_id() == 0)
                .map_or(0, LinuxIdMapping::host_id)
        };
        Ok(Self {
            uids: text("linux.uidMappings", linux.uid_mappings())?,
            gids: text("linux.gidMappings", linux.gid_mappings())?,
            root: (root(linux.uid_mappings()), root(linux.gid_mappings())),
        })
    }

    /// The host ids of a user and a group of the container. An id that is not mapped is taken for root.
    pub(crate) fn on_the_host(&self, user: u32, group: u32) -> (u32, u32) {
        let find = |maps: &str, id: u32| {
            maps.lines().find_map(|line| {
                let mut numbers = line.split(' ').map(str::parse::<u32>);
                let mut next = || numbers.next()?.ok();
                let (inside, outside, size) = (next()?, next()?, next()?);
                let offset = id.checked_sub(inside).filter(|offset| *offset < size)?;
                outside.checked_add(offset)
            })
        };
        (
            find(&self.uids, user).unwrap_or(self.root.0),
            find(&self.gids, group).unwrap_or(self.root.1),
        )
    }

    /// User and group id of the container's root on the host.
    pub fn root(&self) -> (u32, u32) {
        self.root
    }

    /// Writes the maps of the process that was cloned into a new user namespace.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Error> {
        for (file, text) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = PathBuf::from(format!("/proc/{pid}/{file}"));
            std::fs::write(&path, text)
                .map_err(|error| Error::io("write the id map", &path, error))?;
        }
        Ok(())
    }

    /// Makes a user namespace with these maps, for mount_setattr(2).
    pub fn namespace(&self) -> Result<OwnedFd, Error> {
        let failed = |errno| Error::system("make a user namespace", errno);
        let cloned = process::clone3(libc::CLONE_NEWUSER as u64, None).map_err(failed)?;
        let (pid, pidfd) = match cloned {
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
            Cloned::Child => process::sleep(),
        };
        let opened = self.write(pid).and_then(|()| {
            let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
            rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::io("open namespace", &path, errno))
        });
        // The descriptor keeps the namespace alive.
        process::send_signal(pidfd.as_fd(), libc::SIGKILL)
            .and_then(|()| process::wait(pidfd.as_fd()))
            .map_err(failed)?;
        opened
    }
}

/// Maps the ids of a detached mount as in a user namespace.
pub fn map(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    let mapped = Attributes {
        set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: namespace.as_raw_fd() as u64,
        ..Attributes::default()
    };
    set_attributes(tree, &mapped, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    fn plan(container: u32, host: u32, size: u32) -> Result<IdMap, Error> {
        let map = LinuxIdMappingBuilder::default()
            .container_id(container)
            .host_id(host)
            .size(size)
            .build()
            .unwrap();
        let mut linux = Linux::default();
        linux.set_uid_mappings(Some(vec![map]));
        linux.set_gid_mappings(Some(vec![map]));
        IdMap::plan(&linux)
    }

    #[test]
    fn maps_have_root_and_stay_in_range() {
        assert_eq!(plan(0, 100_000, 65_536).unwrap().uids, "0 100000 65536\n");
        for (container, host, size) in [(1, 1000, 10), (0, 0, 0), (0, u32::MAX, 2)] {
            assert!(plan(container, host, size).is_err());
        }
        assert!(IdMap::plan(&Linux::default()).is_err());
    }
}
