//! The overlay of a container with a user namespace.
//!
//! Layers keep the ids of the image on disk: their mounts are id-mapped (mount_setattr(2), MOUNT_ATTR_IDMAP), and no file is changed.
//! The upper directory is not mapped, as the kernel writes to it with the ids of the process that mounted the overlay: its files have
//! the container's host ids. The parent mounts the overlay in a temporary mount namespace and passes it to the child as a detached
//! mount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use box_run::namespaces::idmap::map;
use box_run::plan::UserIds;
use box_unpack::Layers;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::namespace::SeparateNamespace;
use super::overlay::Overlay;
use crate::Error;

/// Mounts the overlay of `layers` and the upper directory of `bundle` with these ids. Returns a detached mount.
pub fn overlay(
    bundle: &Path,
    layers: &Layers,
    volatile: bool,
    ids: UserIds<'_>,
) -> Result<OwnedFd, Error> {
    let upper = bundle.join("upper");
    let (user, group) = ids.map.root();
    std::os::unix::fs::chown(&upper, Some(user), Some(group))
        .map_err(|error| Error::io("change the owner of", &upper, error))?;
    let separate = SeparateNamespace::enter()?;
    let made = build(bundle, layers, volatile, ids.namespace);
    separate.leave()?;
    made
}

fn build(
    bundle: &Path,
    layers: &Layers,
    volatile: bool,
    namespace: BorrowedFd<'_>,
) -> Result<OwnedFd, Error> {
    let rootfs = bundle.join("rootfs");
    let mapped: Vec<OwnedFd> = layers
        .trees()
        .map(|path| attach_mapped(path, &rootfs, namespace))
        .collect::<Result<_, _>>()?;
    Overlay::of_trees(mapped, bundle.join("upper"), bundle.join("work"), volatile)?
        .mount_and_take(&rootfs)
}

/// A mount of `path` with mapped ids, attached on top of earlier ones: kernels before 6.15 take only attached mounts as layers. A
/// descriptor finds it although others are mounted over it.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use box_run::namespaces::idmap::IdMap;
    use oci_spec::runtime::{Linux, LinuxIdMappingBuilder};
    use std::os::fd::AsRawFd;

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
        let range = LinuxIdMappingBuilder::default()
            .host_id(100_000_u32)
            .size(65_536_u32)
            .build()
            .unwrap();
        let mut linux = Linux::default();
        linux.set_uid_mappings(Some(vec![range]));
        linux.set_gid_mappings(Some(vec![range]));
        let map = IdMap::plan(&linux).unwrap();
        let namespace = map.namespace().unwrap();
        let ids = UserIds {
            map: &map,
            namespace: namespace.as_fd(),
        };
        let tree = overlay(&bundle, &Layers::of_directories([layer.clone()]), true, ids).unwrap();
        let seen = |name: &str| {
            std::fs::metadata(format!("/proc/self/fd/{}/{name}", tree.as_raw_fd()))
                .unwrap()
                .uid()
        };
        assert_eq!(seen("file"), 100_000);
        assert_eq!(std::fs::metadata(layer.join("file")).unwrap().uid(), 0);
        // Nothing is mounted in the namespace of other processes.
        assert!(
            std::fs::read_dir(bundle.join("rootfs"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}
