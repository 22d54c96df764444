//! A file of a container, found from outside where a process inside would find it.
//!
//! Path by path and layer by layer would not do: a layer can delete a file or a directory of those below it, replace either, make
//! directories opaque, and hold links that lead into other layers; a volume hides what lies under it. So the path is walked one
//! name at a time, each looked up in the merged view of the layers as overlayfs makes it, and links are followed by us, inside.
//! An image is hostile, and so is a container that runs meanwhile: what is found is opened without following it and looked at
//! before it is read; devices, pipes and sockets are never opened; of other file systems only volumes are read, by their sources.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use box_unpack::Layers;
use box_unpack::merged::{self, Found, Merged};
use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::{Errno, read, retry_on_intr};

use crate::Error;

/// How many names may be looked up on one path, those of links included: a hostile image could ask for millions, in each of its
/// layers. No distribution needs more than ten.
const MOST_STEPS: u32 = 256;

/// Where files are looked for.
pub(crate) struct Lookup<'a> {
    base: Base<'a>,
    /// What is mounted over the base, in order; resolved to `volumes` where a path may lead there.
    mounts: &'a [Mount],
    volumes: Option<Vec<Volume>>,
}

enum Base<'a> {
    /// Unpacked layers, topmost last; the topmost, and the merged view of all, once they are needed.
    Layers(&'a Layers, Option<OwnedFd>, Option<Merged>),
    /// The root directory of a running container.
    Root(OwnedFd),
}

/// What is mounted somewhere: a file or directory of the host, or what holds no file that is ours to read.
struct Volume {
    /// In the container, after links, without the leading slash.
    place: PathBuf,
    source: Option<PathBuf>,
}

/// A directory on the way.
enum Directory {
    Layers(merged::Directory),
    Plain(OwnedFd),
    /// The start makes it, for what is mounted below.
    Made,
}

/// What a name means.
enum Entry {
    Nothing,
    Directory(Directory),
    Link(OsString),
    File(OwnedFd, Stat),
}

/// Where a walk ended.
struct Walked {
    /// The path without links, as far as it exists; what is left is added as it stands.
    place: PathBuf,
    entry: Entry,
}

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<'a> Lookup<'a> {
    /// In an image's unpacked layers, topmost last, and what `mounts` put over them.
    pub fn in_layers(layers: &'a Layers, mounts: &'a [Mount]) -> Self {
        Self {
            base: Base::Layers(layers, None, None),
            mounts,
            volumes: None,
        }
    }

    /// In a running container, whose root directory this is. The kernel has merged its layers.
    pub fn in_root(root: OwnedFd, mounts: &'a [Mount]) -> Self {
        Self {
            base: Base::Root(root),
            mounts,
            volumes: None,
        }
    }

    /// The first bytes of a regular file, at most `most`, and whether that is all; `None` if there is none at that absolute path.
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

    /// The common case in one call: the file lies in the topmost layer, or below the container's root, with nothing mounted on the
    /// way. `None`: that cannot be told so.
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
        // Not LOOK: the last name may be a link, too, where links are followed at all.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve) else {
            return Ok(None);
        };
        let stat = stat_of(&file, path)?;
        // An empty one may be a whiteout.
        Ok((is_regular(&stat) && stat.st_size > 0).then_some((file, stat)))
    }

    /// As [`Lookup::walk`], with everything mounted.
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
                    // Each lies where it is found with those before it in their places.
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
        // With each directory, how many of the volumes lie below it, and so can be seen in it no more.
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
        // A directory is no file.
        let entry = Entry::Nothing;
        Ok(Walked { place, entry })
    }

    /// What `name` means in a directory, the root if there is none; `place` is its path, `volume` lies there, and `later` are the
    /// volumes that come after it.
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

/// Whether a mount may lie over files of the image that anybody asks for: a volume, or a tmpfs that is not one of box's own.
fn is_volume(mount: &Mount) -> bool {
    let tmpfs = mount.typ().as_deref() == Some("tmpfs");
    let own = [Path::new("/dev"), Path::new("/dev/shm")].contains(&mount.destination().as_path());
    bind_source(mount).is_some() || (tmpfs && !own)
}

/// The file or directory of the host that a mount shows. The bundle's own files, which have relative sources, hold nothing of the
/// container.
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

/// Puts the names of a path on the stack, the first one on top.
fn push(stack: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    stack.extend(names);
}

/// What the layers have at `place`, a name in `parent`.
fn layered(
    lower: &Merged,
    parent: &merged::Directory,
    name: &OsStr,
    place: &Path,
) -> Result<Entry, Error> {
    match lower.find(parent, name)? {
        Found::Nothing => Ok(Entry::Nothing),
        Found::Directory(merged) => Ok(Entry::Directory(Directory::Layers(merged))),
        Found::File(file) => entry(lower.open_file(&file)?, place),
    }
}

/// What a directory of one file system has; nothing where another is mounted.
fn plain(directory: &OwnedFd, name: &OsStr, place: &Path) -> Result<Entry, Error> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(directory, name, LOOK, Mode::empty(), resolve) {
        Ok(file) => entry(file, place),
        Err(errno) if is_missing(errno) => Ok(Entry::Nothing),
        Err(errno) => Err(Error::io("open the container's", place, errno)),
    }
}

/// A volume's source, links followed as the mount does.
fn open(source: &Path) -> Result<Entry, Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat(CWD, source, flags, Mode::empty()) {
        Ok(file) => entry(file, source),
        // It is made by the start, or refused there.
        Err(errno) if is_missing(errno) => Ok(Entry::Nothing),
        Err(errno) => Err(Error::io("open", source, errno)),
    }
}

fn entry(file: OwnedFd, path: &Path) -> Result<Entry, Error> {
    let stat = stat_of(&file, path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Entry::Directory(Directory::Plain(file))),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&file, c"", vec![])
                .map_err(|errno| Error::io("read the link", path, errno))?;
            Ok(Entry::Link(OsString::from_vec(target.into_bytes())))
        }
        _ => Ok(Entry::File(file, stat)),
    }
}

fn stat_of(file: &OwnedFd, path: impl AsRef<OsStr>) -> Result<Stat, Error> {
    fstat(file).map_err(|errno| Error::io("look at", Path::new(&path), errno))
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn is_missing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::ACCESS
            | Errno::NAMETOOLONG
            | Errno::AGAIN
    )
}

/// Reads what was opened as a mere place, and is known to be a regular file.
fn read_open(file: &OwnedFd, stat: &Stat, most: u64) -> Result<Option<(Vec<u8>, bool)>, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // A lease that somebody inside holds must not make us wait, fcntl(2).
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(errno) if is_missing(errno) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let size = u64::try_from(stat.st_size).unwrap_or(0).min(most) as usize;
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    // One more than there is, so that the end is found by the same read.
    let mut bytes = vec![0; size + 1];
    let mut length = 0;
    loop {
        let count = retry_on_intr(|| read(&file, &mut bytes[length..]))?;
        length += count;
        if count == 0 || length > most || (length < bytes.len() && length >= size) {
            break;
        }
        if length == bytes.len() {
            // It grew.
            bytes.resize(length.saturating_mul(2).min(most + 1), 0);
        }
    }
    bytes.truncate(length.min(most));
    Ok(Some((bytes, length <= most)))
}

#[cfg(test)]
mod tests;
