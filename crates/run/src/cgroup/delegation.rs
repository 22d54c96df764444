//! Which groups of v2 were delegated to this process' user, so that it may make groups below them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::host;

/// The group in which containers' groups are made, relative to the root of the hierarchy: the nearest one above this process that
/// was delegated to its user, or else the root.
pub(super) fn delegated_to_us(root: &Path) -> PathBuf {
    let own = host::own_group("").ok().flatten().unwrap_or_default();
    // A process outside the root of its cgroup namespace sees its group as `/../..`.
    if own
        .components()
        .any(|component| component == std::path::Component::ParentDir)
    {
        return PathBuf::new();
    }
    // The own group comes last: a group with processes cannot enable controllers for groups below it.
    let above = groups_above(&own).chain([own.as_path()]);
    nearest_delegated(root, above).map_or(PathBuf::new(), Path::to_owned)
}

/// The nearest group above `path` that was delegated to this user, who may enable controllers there, or else the root of the
/// hierarchy.
pub(super) fn base(root: &Path, path: &Path) -> PathBuf {
    nearest_delegated(root, groups_above(path)).map_or(root.to_owned(), |place| root.join(place))
}

/// The groups above `path`, the nearest first, without the root of the hierarchy.
fn groups_above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors()
        .skip(1)
        .filter(|place| !place.as_os_str().is_empty())
}

fn nearest_delegated<'a>(
    root: &Path,
    mut places: impl Iterator<Item = &'a Path>,
) -> Option<&'a Path> {
    let user = rustix::process::geteuid().as_raw();
    places.find(|place| !place.as_os_str().is_empty() && is_delegated(&root.join(place), user))
}

/// Whether the group was delegated to `user`: the user owns it. Root owns nearly all groups, so for root systemd's mark is needed
/// as well, <https://systemd.io/CGROUP_DELEGATION>.
fn is_delegated(place: &Path, user: u32) -> bool {
    let owned = std::fs::metadata(place.join("cgroup.procs")).is_ok_and(|file| file.uid() == user);
    let marked = |name| {
        let mut value = [0_u8; 8];
        matches!(rustix::fs::getxattr(place, name, &mut value), Ok(1) if value[0] == b'1')
    };
    owned && (user != 0 || marked("trusted.delegate") || marked("user.delegate"))
}
