//! The merged view of immutable layers, as overlayfs makes it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::File;
use super::upper::{has_attribute, is_opaque, is_whiteout, look, names};
use crate::Error;
use crate::storage::overlay::Room;

/// The layers, topmost first.
pub(crate) struct Lower {
    layers: Vec<(OwnedFd, PathBuf)>,
    _room: Room,
}

/// What the layers have at a path.
pub(crate) enum Found {
    Nothing,
    Directory(Merged),
    /// A file of any other kind.
    Other(Below),
}

/// A file of a layer.
pub(crate) struct Below {
    layer: usize,
    stat: Stat,
}

/// A directory of the merged view.
pub(crate) struct Merged {
    path: PathBuf,
    /// The layers in which it is, topmost first.
    layers: Vec<usize>,
    /// Of the topmost.
    pub(crate) stat: Stat,
}

impl Lower {
    pub(crate) fn open(layers: &[PathBuf]) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .map(|descriptor| (descriptor, path.clone()))
                .map_err(|errno| Error::io("open layer", path, errno))
        };
        let room = Room::make();
        let layers: Vec<_> = layers.iter().rev().map(open).collect::<Result<_, _>>()?;
        if layers.is_empty() {
            return Err(Error::spec("layers", "an instance has at least one"));
        }
        Ok(Self {
            layers,
            _room: room,
        })
    }

    pub(crate) fn root(&self) -> Result<Merged, Error> {
        let (descriptor, path) = &self.layers[0];
        let stat = rustix::fs::fstat(descriptor)
            .map_err(|errno| Error::io("look at layer", path, errno))?;
        Ok(Merged {
            path: PathBuf::new(),
            layers: (0..self.layers.len()).collect(),
            stat,
        })
    }

    /// What the layers have at `path`, which is a name in the directory `parent`.
    pub(crate) fn find(&self, parent: &Merged, path: &Path) -> Result<Found, Error> {
        let mut merged: Option<Merged> = None;
        for &layer in &parent.layers {
            let failed =
                |errno: Errno| Error::io("look at", &self.layers[layer].1.join(path), errno);
            let Some(stat) = look(&self.layers[layer].0, path).map_err(failed)? else {
                continue;
            };
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut merged {
                _ if is_whiteout(&stat) || self.is_marked(layer, path, &stat)? => break,
                None if !directory => return Ok(Found::Other(Below { layer, stat })),
                // A directory ends where something else lies below it.
                Some(_) if !directory => break,
                Some(merged) => merged.layers.push(layer),
                None => {
                    merged = Some(Merged {
                        path: path.to_owned(),
                        layers: vec![layer],
                        stat,
                    })
                }
            }
            if is_opaque(self.directory(layer, path)?).map_err(failed)? {
                break;
            }
        }
        Ok(merged.map_or(Found::Nothing, Found::Directory))
    }

    /// The names in a merged directory, in order.
    pub(crate) fn names(&self, merged: &Merged) -> Result<Vec<OsString>, Error> {
        let mut all: Vec<OsString> = vec![];
        for &layer in &merged.layers {
            let failed = |errno: Errno| {
                Error::io(
                    "read directory",
                    &self.layers[layer].1.join(&merged.path),
                    errno,
                )
            };
            all.extend(names(self.directory(layer, &merged.path)?).map_err(failed)?);
        }
        all.sort_unstable();
        all.dedup();
        let mut visible = vec![];
        for name in all {
            if !matches!(self.find(merged, &merged.path.join(&name))?, Found::Nothing) {
                visible.push(name);
            }
        }
        Ok(visible)
    }

    /// Opens what was found.
    pub(crate) fn file(&self, below: &Below, path: &Path) -> Result<File, Error> {
        let (descriptor, root) = &self.layers[below.layer];
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(descriptor, path, flags, Mode::empty())
            .map_err(|errno| Error::io("open", &root.join(path), errno))?;
        Ok(File {
            handle,
            stat: below.stat,
        })
    }

    /// The other whiteout, on file systems that take no devices 0:0: an empty file with an attribute.
    fn is_marked(&self, layer: usize, path: &Path, stat: &Stat) -> Result<bool, Error> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size != 0 {
            return Ok(false);
        }
        let (descriptor, root) = &self.layers[layer];
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(descriptor, path, flags, Mode::empty());
        let marked = file.and_then(|file| has_attribute(&file, c"trusted.overlay.whiteout"));
        marked.map_err(|errno| Error::io("read the xattrs of", &root.join(path), errno))
    }

    fn directory(&self, layer: usize, path: &Path) -> Result<OwnedFd, Error> {
        let (descriptor, root) = &self.layers[layer];
        let name = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(descriptor, name, flags, Mode::empty())
            .map_err(|errno| Error::io("open directory", &root.join(path), errno))
    }
}
