//! What a container changed: its upper directory compared with the layers below, in overlayfs' own marks; or all files of
//! its copy of them.
//!
//! A whiteout is a character device 0:0, an opaque directory has the xattr `trusted.overlay.opaque` = `y`; see
//! overlayfs.rst of the kernel. Layers are immutable; the upper directory may be changed by a hostile container while it is
//! read, so that everything in it is opened below its root with no symbolic link followed.

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

/// What differs, parents before children and names in order. `layers` are topmost last; `mounted` are absolute paths of
/// the container that something is mounted on: the empty files and directories that were made for this are no changes.
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
