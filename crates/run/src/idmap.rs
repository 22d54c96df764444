//! User namespaces: the ids of a container on the host, and its root file system shown with them.
//!
//! Layers keep the ids of the image on disk, whoever runs them: their mounts are id-mapped (mount_setattr(2),
//! MOUNT_ATTR_IDMAP) instead of files changed. The upper directory cannot be, as the kernel writes to it with the ids of
//! who mounted the overlay: files in there have the container's ids on the host. The overlay is built by the parent, in a
//! mount namespace that lives for no longer than that, and handed to the child as a mount that is attached nowhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::Error;
use crate::overlay::{Home, Overlay};
use crate::sys::mount::{Attributes, set_attributes};
use crate::sys::process::{self, Cloned};

/// The maps of a user namespace, as /proc/PID/uid_map and gid_map take them, user_namespaces(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMap {
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
                    "a user namespace needs a map of ids that includes root and stays in range",
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

    /// A user and a group of the container as the host has them; its root for one that is not mapped.
    pub fn on_the_host(&self, user: u32, group: u32) -> (u32, u32) {
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

    /// Writes the maps of a process that is alone in a new user namespace.
    pub fn write(&self, pid: i32) -> Result<(), Error> {
        for (file, text) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = PathBuf::from(format!("/proc/{pid}/{file}"));
            std::fs::write(&path, text)
                .map_err(|error| Error::io("write the id map", &path, error))?;
        }
        Ok(())
    }

    /// A user namespace with these maps. mount_setattr(2) takes the maps from one.
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
        // Its namespace lives on in the descriptor.
        process::send_signal(pidfd.as_fd(), libc::SIGKILL)
            .and_then(|()| process::wait(pidfd.as_fd()))
            .map_err(failed)?;
        opened
    }
}

impl IdMap {
    /// Mounts the overlay of `layers` over `bundle`'s upper directory with the ids of `namespace`, attached nowhere.
    pub fn overlay(
        &self,
        bundle: &Path,
        layers: &[PathBuf],
        volatile: bool,
        namespace: BorrowedFd<'_>,
    ) -> Result<OwnedFd, Error> {
        let upper = bundle.join("upper");
        std::os::unix::fs::chown(&upper, Some(self.root.0), Some(self.root.1))
            .map_err(|error| Error::io("change the owner of", &upper, error))?;
        let home = Home::leave()?;
        let made = build(bundle, layers, volatile, namespace);
        home.come_back()?;
        made
    }
}

fn build(
    bundle: &Path,
    layers: &[PathBuf],
    volatile: bool,
    namespace: BorrowedFd<'_>,
) -> Result<OwnedFd, Error> {
    let rootfs = bundle.join("rootfs");
    let mapped: Vec<OwnedFd> = layers
        .iter()
        .map(|path| attach_mapped(path, &rootfs, namespace))
        .collect::<Result<_, _>>()?;
    Overlay::of_trees(mapped, bundle.join("upper"), bundle.join("work"), volatile)?
        .mount_and_take(&rootfs)
}

/// A mount of `path` with mapped ids. It is attached on top of what was attached before: kernels before 6.15 take only attached
/// mounts as layers, and a descriptor finds it where a path would not.
fn attach_mapped(path: &Path, target: &Path, namespace: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let tree = open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .map_err(|errno| Error::io("open directory", path, errno))?;
    map(tree.as_fd(), namespace).map_err(|errno| Error::io("map the ids of", path, errno))?;
    move_mount(
        &tree,
        c"",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|errno| Error::io("mount on", target, errno))?;
    Ok(tree)
}

/// Shows a detached mount with the ids of a user namespace.
pub(crate) fn map(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    let mapped = Attributes {
        set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: namespace.as_raw_fd() as u64,
        ..Attributes::default()
    };
    set_attributes(tree, &mapped, false)
}

/// The first range of subordinate ids of `user` in the text of /etc/subuid or /etc/subgid, subuid(5): first id and count.
pub fn subordinate_range(text: &str, user: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let (first, count): (u32, u32) = (first.trim().parse().ok()?, count.trim().parse().ok()?);
        (name == user && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    })
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

    #[test]
    fn subordinate_ranges() {
        let text = "# no\nother:1:2\nbox:x:5\nbox:100000:65536\nbox:1:1\n";
        assert_eq!(subordinate_range(text, "box"), Some((100_000, 65_536)));
        assert_eq!(subordinate_range("box:4294967295:2\n", "box"), None);
        assert_eq!(subordinate_range("", "box"), None);
    }

    #[test]
    fn a_mapped_overlay_shows_shifted_ids_and_keeps_those_on_disk() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let (layer, bundle) = (dir.path().join("layer"), dir.path().join("bundle"));
        for name in ["rootfs", "upper", "work"] {
            std::fs::create_dir_all(bundle.join(name)).unwrap();
        }
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join("file"), "x").unwrap();
        let map = plan(0, 100_000, 65_536).unwrap();
        let namespace = map.namespace().unwrap();
        let tree = map
            .overlay(
                &bundle,
                std::slice::from_ref(&layer),
                true,
                namespace.as_fd(),
            )
            .unwrap();
        let seen = |name: &str| {
            std::fs::metadata(format!("/proc/self/fd/{}/{name}", tree.as_raw_fd()))
                .unwrap()
                .uid()
        };
        assert_eq!(seen("file"), 100_000);
        assert_eq!(std::fs::metadata(layer.join("file")).unwrap().uid(), 0);
        // Nothing is mounted for anybody else.
        assert!(
            std::fs::read_dir(bundle.join("rootfs"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}
