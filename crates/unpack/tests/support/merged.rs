//! Two views of the same layers: what the kernel mounts, and what is read without a mount.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use box_unpack::merged::{Directory, Found, Merged};
use rustix::fs::FileType;

use super::snapshot;

/// What a stat says of a file, by the file's path. Inodes are left out, as an overlay gives its own to directories.
pub type Files = BTreeMap<PathBuf, (u32, u32, u32, Option<i64>, i64)>;

fn described(stat: &rustix::fs::Stat) -> (u32, u32, u32, Option<i64>, i64) {
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let size = (!directory).then_some(stat.st_size);
    (stat.st_mode, stat.st_uid, stat.st_gid, size, stat.st_mtime)
}

/// All files below a directory, without it.
pub fn files(root: &Path) -> Files {
    let mut files = Files::new();
    for path in snapshot(root).into_keys().filter(|path| !path.is_empty()) {
        let path = PathBuf::from(OsString::from_vec(path));
        let stat = rustix::fs::lstat(root.join(&path)).unwrap();
        files.insert(path, described(&stat));
    }
    files
}

/// The same of a merged view.
pub fn files_of(merged: &Merged) -> Files {
    let mut files = Files::new();
    let mut waiting: Vec<Directory> = vec![merged.root().unwrap()];
    while let Some(directory) = waiting.pop() {
        for name in merged.names(&directory).unwrap() {
            match merged.find(&directory, &name).unwrap() {
                Found::Nothing => panic!("{name:?} is listed and not there"),
                Found::File(file) => {
                    files.insert(file.path().to_owned(), described(file.stat()));
                }
                Found::Directory(below) => {
                    files.insert(below.path().to_owned(), described(below.stat()));
                    waiting.push(below);
                }
            }
        }
    }
    files
}
