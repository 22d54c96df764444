//! The changes of a container: the upper directory of its overlay, or its copy of the layers, compared with the layers.
//!
//! In an upper directory a whiteout is a character device 0:0, and an opaque directory has the xattr `trusted.overlay.opaque` = `y`;
//! see the kernel's overlayfs.rst. Layers are immutable. A hostile container may change the upper directory while it is read, so
//! everything in it is opened below its root, and no symbolic link is followed.

mod change;
mod comparison;
pub(crate) mod layer;
mod upper;
mod walk;

use std::path::{Path, PathBuf};

use box_unpack::Layers;

use crate::Error;
pub use change::{Change, ChangeKind, WritableFiles};
use walk::walk;

/// The changes, parents before children and names in order. `layers` are topmost last; `mounted` are the container's mount points, as
/// absolute paths: empty files and directories that were created for them do not count as changes.
pub fn changes(
    files: &WritableFiles,
    layers: &Layers,
    mounted: &[PathBuf],
) -> Result<Vec<Change>, Error> {
    let mut found = vec![];
    walk(files, layers, mounted, &mut |entry| {
        if !entry.path.as_os_str().is_empty() {
            found.push(Change {
                kind: entry.kind,
                path: Path::new("/").join(entry.path),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
