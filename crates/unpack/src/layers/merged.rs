//! The merged view of layers, as overlayfs makes it.
//!
//! Reading the layers one by one is not enough: a layer can delete or replace a file or directory of a lower one, or make a directory
//! opaque. So each name is looked up in all layers that share its directory, from the top, observing the overlay's marks:
//! <https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories>.
//!
//! Layers are immutable, and only directories are ever walked through: the path of a [`Directory`] contains no symbolic link in any
//! of its layers. Following links is left to the caller.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Layers;
use crate::descriptors::RaisedLimit;
use crate::error::Error;
use crate::whiteout::{is_opaque, is_whiteout};

/// The merged view of some layers. While it exists, all of them are open and the limit on open files is raised.
#[derive(Debug)]
pub struct Merged {
    /// Topmost first.
    layers: Vec<(OwnedFd, PathBuf)>,
    _limit: RaisedLimit,
}

/// The file of a name in the merged view.
#[derive(Debug)]
pub enum Found {
    /// Nothing, or a whiteout.
    Nothing,
    /// A directory.
    Directory(Directory),
    /// A file of any other type.
    File(File),
}

/// A directory of the merged view.
#[derive(Debug)]
pub struct Directory {
    /// Relative to the root.
    path: PathBuf,
    /// The layers that share it, topmost first.
    layers: Vec<usize>,
    stat: Stat,
}

/// A file of the merged view that is not a directory.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    layer: usize,
    stat: Stat,
}

impl Directory {
    /// Its path, relative to the root; empty for the root itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its metadata in the topmost layer that contains it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }
}

impl File {
    /// Its path, relative to the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its metadata.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }
}

impl Merged {
    pub(super) fn open(layers: &Layers) -> Result<Merged, Error> {
        if layers.is_empty() {
            return Err(Error::NoLayers);
        }
        let limit = RaisedLimit::raise();
        let mut open = Vec::with_capacity(layers.len());
        for (descriptor, path) in layers.open()?.into_iter().zip(layers.trees()).rev() {
            open.push((descriptor, path.to_owned()));
        }
        Ok(Merged {
            layers: open,
            _limit: limit,
        })
    }

    /// The root directory.
    pub fn root(&self) -> Result<Directory, Error> {
        let (topmost, path) = &self.layers[0];
        let stat =
            rustix::fs::fstat(topmost).map_err(|errno| Error::io("look at layer", path, errno))?;
        Ok(Directory {
            path: PathBuf::new(),
            layers: (0..self.layers.len()).collect(),
            stat,
        })
    }

    /// Looks up a name in a directory. The name must not be `.` or `..`.
    pub fn find(&self, parent: &Directory, name: &OsStr) -> Result<Found, Error> {
        let path = parent.path.join(name);
        let mut found: Option<Directory> = None;
        for &layer in &parent.layers {
            let failed = |errno: Errno| self.failed("look at", layer, &path, errno);
            let root = &self.layers[layer].0;
            let stat = match rustix::fs::statat(root, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut found {
                _ if is_whiteout(root, &path, &stat).map_err(failed)? => break,
                None if !directory => return Ok(Found::File(File { path, layer, stat })),
                // What is below a file of another type does not show through.
                Some(_) if !directory => break,
                Some(found) => found.layers.push(layer),
                None => {
                    found = Some(Directory {
                        path: path.clone(),
                        layers: vec![layer],
                        stat,
                    });
                }
            }
            if is_opaque(&self.directory(layer, &path)?).map_err(failed)? {
                break;
            }
        }
        Ok(found.map_or(Found::Nothing, Found::Directory))
    }

    /// The names in a directory, in order, without those that whiteouts hide.
    pub fn names(&self, directory: &Directory) -> Result<Vec<OsString>, Error> {
        let mut all = Vec::new();
        for &layer in &directory.layers {
            let open = self.directory(layer, &directory.path)?;
            names(&open, &mut all)
                .map_err(|errno| self.failed("read directory", layer, &directory.path, errno))?;
        }
        all.sort_unstable();
        all.dedup();
        let mut visible = Vec::with_capacity(all.len());
        for name in all {
            if !matches!(self.find(directory, &name)?, Found::Nothing) {
                visible.push(name);
            }
        }
        Ok(visible)
    }

    /// Opens a file with `O_PATH`, without following a symbolic link. This is safe for devices and pipes.
    pub fn open_file(&self, file: &File) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.layers[file.layer].0, &file.path, flags, Mode::empty())
            .map_err(|errno| self.failed("open", file.layer, &file.path, errno))
    }

    /// Opens a merged directory in one layer.
    fn directory(&self, layer: usize, path: &Path) -> Result<OwnedFd, Error> {
        let name = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.layers[layer].0, name, flags, Mode::empty())
            .map_err(|errno| self.failed("open directory", layer, path, errno))
    }

    fn failed(&self, action: &'static str, layer: usize, path: &Path, errno: Errno) -> Error {
        Error::io(action, self.layers[layer].1.join(path), errno)
    }
}

/// Adds the names in an open directory.
fn names(directory: &OwnedFd, all: &mut Vec<OsString>) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            all.push(OsString::from_vec(name.to_bytes().to_vec()));
        }
    }
    Ok(())
}
