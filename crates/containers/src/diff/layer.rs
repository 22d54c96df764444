//! The changes of a container as an OCI layer: a tar archive with whiteouts.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md>. Each deletion is a whiteout; opaque whiteouts are not used, as
//! not every tool applies them before the entries beside them.

use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use box_unpack::Layers;

use super::change::{ChangeKind, WritableFiles};
use super::walk::walk;
use crate::Error;
use crate::archive::Archive;
use crate::ids::Ids;

/// The prefix of whiteouts. A layer cannot contain a file with such a name.
const WHITEOUT: &str = ".wh.";

/// Writes the changes as an uncompressed layer, reproducibly. For the other arguments see [`crate::diff::changes`]. Returns the
/// writer.
pub fn write<W: Write>(
    files: &WritableFiles,
    layers: &Layers,
    mounted: &[PathBuf],
    ids: Ids,
    out: W,
) -> Result<W, Error> {
    let mut archive = Archive::new(out, ids);
    walk(files, layers, mounted, &mut |entry| {
        let name = entry.path.file_name().unwrap_or_default();
        if named_as_whiteout(entry.path) {
            let path = entry.path.display();
            tracing::warn!(
                "/{path} is left out: a layer cannot contain a file whose name begins with {WHITEOUT}"
            );
            return Ok(());
        }
        if entry
            .file
            .as_ref()
            .is_some_and(|file| is_whiteout_device(&file.stat))
        {
            let path = entry.path.display();
            tracing::warn!(
                "/{path} is left out: in a layer a character device 0:0 marks a deleted file"
            );
            return Ok(());
        }
        match (entry.kind, entry.file) {
            (ChangeKind::Deleted, _) | (_, None) => {
                let mut whiteout = std::ffi::OsString::from(WHITEOUT);
                whiteout.push(name);
                archive.mark(&entry.path.with_file_name(whiteout))
            }
            (_, Some(file)) => {
                let path = if name.is_empty() {
                    Path::new(".")
                } else {
                    entry.path
                };
                archive.add(path, &file.handle, &file.stat)
            }
        }
    })?;
    archive.finish()
}

/// Whether a layer cannot contain the path, because a name in it begins like a whiteout.
fn named_as_whiteout(path: &Path) -> bool {
    path.iter()
        .any(|name| name.as_encoded_bytes().starts_with(WHITEOUT.as_bytes()))
}

/// Whether a file is a character device 0:0. Only a copy can contain one that is a real device, as an overlay refuses to create it.
fn is_whiteout_device(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn names(layer: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(layer);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn whiteouts_links_and_long_names() {
        let dir = tempfile::tempdir().unwrap();
        let (low, upper) = (dir.path().join("low"), dir.path().join("upper"));
        fs::create_dir_all(low.join("etc")).unwrap();
        fs::write(low.join("etc/gone"), "x").unwrap();
        fs::create_dir_all(upper.join("etc")).unwrap();
        let whiteout = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::empty();
        rustix::fs::mknodat(rustix::fs::CWD, upper.join("etc/gone"), whiteout, mode, 0).unwrap();
        let long = "n".repeat(200);
        fs::write(upper.join(&long), "long").unwrap();
        fs::hard_link(upper.join(&long), upper.join("same")).unwrap();
        std::os::unix::fs::symlink("t".repeat(150), upper.join("link")).unwrap();
        fs::write(upper.join(".wh.mine"), "").unwrap();
        fs::create_dir(upper.join(".wh.dir")).unwrap();
        fs::write(upper.join(".wh.dir/file"), "").unwrap();
        let make = || {
            write(
                &WritableFiles::Upper(upper.clone()),
                &Layers::of_directories([low.clone()]),
                &[],
                Ids::default(),
                vec![],
            )
            .unwrap()
        };
        let layer = make();
        assert_eq!(
            names(&layer),
            ["etc/", "etc/.wh.gone", "link", &long, "same"]
        );
        assert_eq!(layer, make());
        let mut archive = tar::Archive::new(layer.as_slice());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let link = entry
                .link_name()
                .unwrap()
                .map(|path| path.display().to_string());
            match entry.path().unwrap().to_str().unwrap() {
                "link" => assert_eq!(link.unwrap(), "t".repeat(150)),
                "same" => assert_eq!(link.unwrap(), long),
                _ => assert_eq!(link, None),
            }
        }
    }

    #[test]
    fn owners_are_the_containers_own() {
        let ids = Ids {
            range: Some((100_000, 65_536)),
        };
        assert_eq!(
            (ids.inside(100_000), ids.inside(101_000), ids.inside(0)),
            (0, 1000, 0)
        );
        assert_eq!((ids.outside(0), ids.outside(65_536)), (100_000, 65_536));
    }
}
