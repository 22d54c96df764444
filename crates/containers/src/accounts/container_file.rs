//! Looking up a file of a container from outside, with the same result as inside.
//!
//! Looking into one layer after another is not enough: a layer can delete or replace files and directories of those below, make
//! directories opaque, and contain links that lead into other layers; a volume hides what is under it. So the path is walked one name
//! at a time, in the merged view of the layers as overlayfs makes it, and links are followed within that view. Images and running
//! containers are not trusted: files are opened without following links and checked before they are read; devices, pipes and sockets
//! are never opened; of other file systems only volumes are read, through their sources.

mod entry;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use box_unpack::Layers;
use box_unpack::merged::Merged;
use oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, openat2};

use crate::Error;
use entry::{Directory, Entry, is_regular, layered, open, plain, read_open, stat_of};

/// The most names that are looked up for one path, those of links included: a hostile image could cause millions, in each of its
/// layers. No distribution needs more than ten.
const MOST_STEPS: u32 = 256;

/// Looks up files of one container.
pub(crate) struct Lookup<'a> {
    base: Base<'a>,
    /// Mounts over the base, in order; resolved to `volumes` when a path may lead there.
    mounts: &'a [Mount],
    volumes: Option<Vec<Volume>>,
}

enum Base<'a> {
    /// Unpacked layers, topmost last; the topmost one and the merged view are opened when they are needed.
    Layers(&'a Layers, Option<OwnedFd>, Option<Merged>),
    /// The root directory of a running container.
    Root(OwnedFd),
}

/// A mount: a file or directory of the host, or a file system without readable files.
struct Volume {
    /// In the container, after links, without the leading slash.
    place: PathBuf,
    source: Option<PathBuf>,
}

/// The end of a walk.
struct Walked {
    /// The path without links as far as it exists, followed by the rest as given.
    place: PathBuf,
    entry: Entry,
}

impl<'a> Lookup<'a> {
    /// Looks in the layers of an image and in `mounts` over them.
    pub fn in_layers(layers: &'a Layers, mounts: &'a [Mount]) -> Self {
        Self {
            base: Base::Layers(layers, None, None),
            mounts,
            volumes: None,
        }
    }

    /// Looks in a running container with this root directory, where the kernel has merged the layers.
    pub fn in_root(root: OwnedFd, mounts: &'a [Mount]) -> Self {
        Self {
            base: Base::Root(root),
            mounts,
            volumes: None,
        }
    }

    /// The first `most` bytes of a regular file, and whether that is all; `None` if there is no such file at that absolute path.
    pub fn read(&mut self, path: &str, most: u64) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let found = match self.at_once(path)? {
            Some(found) => Some(found),
            None => match self.walk_over_mounts(path)?.entry {
                Entry::File(file, stat) => Some((file, stat)),
                _ => None,
            },
        };
        match found {
            Some((file, stat)) if is_regular(&stat) => read_open(&file, &stat, most)
                .map_err(|errno| Error::io("read the container's", Path::new(path), errno)),
            _ => Ok(None),
        }
    }

    /// The common case in one call: the file is in the topmost layer, or below the container's root, with no mount on the path. `None`:
    /// a walk is needed.
    fn at_once(&mut self, path: &str) -> Result<Option<(OwnedFd, Stat)>, Error> {
        let covered = self.mounts.iter().any(is_volume);
        let (root, resolve) = match &mut self.base {
            Base::Root(root) => (&*root, ResolveFlags::IN_ROOT),
            Base::Layers(layers, top, _) => {
                if covered {
                    return Ok(None);
                }
                if top.is_none() {
                    *top = layers.open_topmost()?;
                }
                let Some(root) = top else {
                    return Ok(None);
                };
                // A link may lead into another layer.
                (&*root, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
            }
        };
        let resolve = resolve | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        // Without NOFOLLOW: the last name may be a link, which IN_ROOT resolves safely.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve) else {
            return Ok(None);
        };
        let stat = stat_of(&file, path)?;
        // An empty one may be a whiteout.
        Ok((is_regular(&stat) && stat.st_size > 0).then_some((file, stat)))
    }

    /// As [`Lookup::walk`], with all mounts.
    fn walk_over_mounts(&mut self, path: &str) -> Result<Walked, Error> {
        if let Base::Layers(layers, _, lower @ None) = &mut self.base
            && !layers.is_empty()
        {
            *lower = Some(layers.merged()?);
        }
        let volumes = match self.volumes.take() {
            Some(volumes) => volumes,
            None => {
                let mut volumes: Vec<Volume> = Vec::with_capacity(self.mounts.len());
                for mount in self.mounts {
                    // The mount point is resolved with all earlier mounts in place.
                    let place = self.walk(mount.destination(), &volumes)?.place;
                    volumes.push(Volume {
                        place,
                        source: bind_source(mount).map(Path::to_owned),
                    });
                }
                volumes
            }
        };
        let walked = self.walk(Path::new(path), &volumes);
        self.volumes = Some(volumes);
        walked
    }

    fn walk(&self, path: &Path, volumes: &[Volume]) -> Result<Walked, Error> {
        // With each directory, the number of volumes that were mounted before it and are hidden by it.
        let mut parents: Vec<(Directory, usize)> = vec![];
        let mut place = PathBuf::new();
        let mut left: Vec<OsString> = vec![];
        push(&mut left, path);
        let (mut steps, mut covered) = (0, 0);
        while let Some(name) = left.pop() {
            steps += 1;
            if name == ".." {
                parents.pop();
                place.pop();
                continue;
            }
            let here = place.join(&name);
            let entry = if steps > MOST_STEPS {
                Entry::Nothing
            } else {
                let (parent, hidden) = match parents.last() {
                    Some((parent, hidden)) => (Some(parent), *hidden),
                    None => (None, 0),
                };
                let mount = volumes.iter().rposition(|volume| volume.place == here);
                let mount = mount.filter(|&mount| mount >= hidden);
                covered = mount.map_or(hidden, |mount| mount + 1);
                self.enter(
                    parent,
                    &name,
                    &here,
                    mount.map(|mount| &volumes[mount]),
                    &volumes[covered..],
                )?
            };
            match entry {
                Entry::Directory(directory) => {
                    parents.push((directory, covered));
                    place = here;
                }
                Entry::Link(target) => {
                    let target = Path::new(&target);
                    if target.is_absolute() {
                        parents.clear();
                        place.clear();
                    }
                    push(&mut left, target);
                }
                entry => {
                    let last = left.is_empty();
                    place = here;
                    place.extend(left.into_iter().rev());
                    let entry = if last { entry } else { Entry::Nothing };
                    return Ok(Walked { place, entry });
                }
            }
        }
        // The path names a directory, which is not a file.
        let entry = Entry::Nothing;
        Ok(Walked { place, entry })
    }

    /// The entry `name` of a directory, or of the root if there is none; `place` is its path, `volume` is mounted there, and `later` are
    /// the volumes mounted after it.
    fn enter(
        &self,
        directory: Option<&Directory>,
        name: &OsStr,
        place: &Path,
        volume: Option<&Volume>,
        later: &[Volume],
    ) -> Result<Entry, Error> {
        let entry = match (volume, directory, &self.base) {
            (Some(volume), _, _) => volume.source.as_deref().map_or(Ok(Entry::Nothing), open),
            (_, Some(Directory::Plain(directory)), _) | (_, None, Base::Root(directory)) => {
                plain(directory, name, place)
            }
            (_, Some(Directory::Layers(merged)), Base::Layers(_, _, Some(lower))) => {
                layered(lower, merged, name, place)
            }
            (_, None, Base::Layers(_, _, Some(lower))) => {
                layered(lower, &lower.root()?, name, place)
            }
            _ => Ok(Entry::Nothing),
        }?;
        let holds = |volume: &Volume| volume.place.starts_with(place) && volume.place != place;
        Ok(match entry {
            Entry::Nothing if later.iter().any(holds) => Entry::Directory(Directory::Made),
            entry => entry,
        })
    }
}

/// Whether a mount may hide files of the image that are looked up: a volume, or a tmpfs other than those of every container.
fn is_volume(mount: &Mount) -> bool {
    let tmpfs = mount.typ().as_deref() == Some("tmpfs");
    let own = [Path::new("/dev"), Path::new("/dev/shm")].contains(&mount.destination().as_path());
    bind_source(mount).is_some() || (tmpfs && !own)
}

/// The host path of a bind mount. Mounts of the bundle's files, which have relative sources, do not count.
fn bind_source(mount: &Mount) -> Option<&Path> {
    let is_bind = mount.typ().as_deref() == Some("bind")
        || mount
            .options()
            .iter()
            .flatten()
            .any(|option| option == "bind" || option == "rbind");
    let source = mount.source().as_deref();
    source.filter(|source| is_bind && source.is_absolute())
}

/// Pushes the names of a path on the stack, the first one on top.
fn push(stack: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    stack.extend(names);
}

#[cfg(test)]
mod tests;
