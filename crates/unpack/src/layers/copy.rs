//! Layer trees copied to one directory of a container's own, for machines without overlayfs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::Layers;
use crate::entry::{EntryPath, Metadata, Time, Xattr};
use crate::error::Error;
use crate::metadata::{self, Creator};
use crate::plain::Target;
use crate::staging::open_directory;
use crate::tree::{Doing, Failure, remove};
use crate::whiteout::{is_opaque, is_whiteout};

pub(super) fn copy(layers: &Layers, target: &Path) -> Result<(), Error> {
    let target = Target::open(target)?;
    let root = target.duplicate()?;
    // In a thread of its own, as its umask changes.
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| layers.trees().try_for_each(|tree| copy_layer(tree, &root)));
        copied
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    target.keep(true)
}

fn copy_layer(layer: &Path, to: &OwnedFd) -> Result<(), Error> {
    let from = open_directory(layer)?;
    let mut creator = Creator::for_this_thread();
    let inspected = creator.inspect_root(to);
    let mut copy = Copy {
        from: &from,
        to,
        creator,
        links: HashMap::new(),
        at: Vec::new(),
    };
    inspected
        .and_then(|()| copy.tree())
        .map_err(|failure| failure.on(&layer.join(OsStr::from_bytes(&copy.at))))
}

/// One layer being copied.
struct Copy<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    creator: Creator,
    /// Files of the layer with several names, by inode: the name that was copied first.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The current path, for errors.
    at: Vec<u8>,
}

/// A step to do; the next one is last. Directories are named by path instead of being kept open, as trees can be deeper than the
/// limit on descriptors.
enum Step {
    Enter(Vec<u8>),
    /// Everything below was copied, so its times can be set.
    Leave(Vec<u8>, Metadata),
}

impl Copy<'_> {
    fn tree(&mut self) -> Result<(), Failure> {
        let mut steps = vec![Step::Enter(Vec::new())];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(path) => {
                    self.at.clone_from(&path);
                    let below = self.enter(&path, &mut steps)?;
                    steps.extend(below.into_iter().map(Step::Enter));
                }
                Step::Leave(path, metadata) => {
                    let dir = open_below(self.to, &path)?;
                    rustix::fs::futimens(&dir, &metadata::times(metadata.mtime))
                        .doing("set the times of")?;
                    self.at = path;
                }
            }
        }
        Ok(())
    }

    /// Copies what is in a directory. Returns the directories in it.
    fn enter(&mut self, path: &[u8], steps: &mut Vec<Step>) -> Result<Vec<Vec<u8>>, Failure> {
        let (from, to) = (open_below(self.from, path)?, open_below(self.to, path)?);
        let stat = rustix::fs::fstat(&from).doing("look at")?;
        if is_opaque(&from).doing("read the attributes of")? {
            remove::contents(&to).doing("empty the copy of")?;
        }
        let metadata = metadata_of(&stat, &from)?;
        metadata::set_directory(&to, &metadata)?;
        self.creator.note_default_acl(&metadata);
        steps.push(Step::Leave(path.to_vec(), metadata));
        let mut below = Vec::new();
        let failed = |errno| Failure::Kernel("list", errno);
        remove::each_name(&from, failed, |name| {
            let mut child = path.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(name);
            self.at.clone_from(&child);
            if self.entry(&from, &to, name, &child)? {
                below.push(child);
            }
            Ok(false)
        })?;
        Ok(below)
    }

    /// Copies one entry. Returns true if it is a directory, whose content is still to be copied.
    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Failure> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).doing("look at")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let there = match rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Some(FileType::from_raw_mode(there.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(Failure::Kernel("look at the copy of", errno)),
        };
        if kind == FileType::Directory && there == Some(FileType::Directory) {
            return Ok(true);
        }
        if there.is_some() {
            remove::tree(to, name).doing("remove from the copy")?;
        }
        if is_whiteout(from, name, &stat).doing("look at")? {
            return Ok(false);
        }
        if kind == FileType::Directory {
            rustix::fs::mkdirat(to, name, Mode::RWXU).doing("create the copy of")?;
            return Ok(true);
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                let (parent, old) = EntryPath::split_bytes(first);
                let parent = open_below(self.to, parent)?;
                rustix::fs::linkat(&parent, old, to, name, AtFlags::empty())
                    .doing("link the copy of")?;
                return Ok(false);
            }
            self.links.insert(inode, path.to_vec());
        }
        if kind == FileType::RegularFile {
            self.file(from, to, name, &stat)?;
        } else {
            self.node(from, to, name, &stat, kind)?;
        }
        Ok(false)
    }

    fn file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &[u8],
        stat: &Stat,
    ) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags, Mode::empty()).doing("open")?;
        let metadata = metadata_of(stat, &source)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(metadata.mode & 0o1777);
        let copy = rustix::fs::openat(to, name, flags, mode).doing("create the copy of")?;
        copy_content(&source, &copy, stat.st_size as u64)?;
        self.creator
            .finish_file(&copy, &metadata, inherits_group(to)?)
    }

    fn node(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> Result<(), Failure> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(from, name, flags, Mode::empty()).doing("open")?;
        let metadata = metadata_of(stat, &node)?;
        let symlink = kind == FileType::Symlink;
        if symlink {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).doing("read the link")?;
            rustix::fs::symlinkat(target, to, name).doing("create the copy of")?;
        } else {
            let mode = Mode::from_raw_mode(metadata.mode);
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).doing("create the copy of")?;
        }
        self.creator
            .finish_node(to, name, &metadata, symlink, inherits_group(to)?)
    }
}

/// Opens a directory of either tree. There is no link on the path, as only directories were entered.
fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Failure> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags, Mode::empty(), within).doing("open")
}

fn inherits_group(dir: &OwnedFd) -> Result<bool, Failure> {
    Ok(rustix::fs::fstat(dir)
        .doing("look at the copy of the directory of")?
        .st_mode
        & 0o2000
        != 0)
}

/// Everything but the content, without the overlay's own attributes.
pub(crate) fn metadata_of(stat: &Stat, fd: &OwnedFd) -> Result<Metadata, Failure> {
    let mut metadata = Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time {
            seconds: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        },
        xattrs: Vec::new(),
    };
    // This also works for links and devices, which can only be opened with O_PATH.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let list = read_growing(|buffer| rustix::fs::listxattr(&path, buffer))
        .doing("list the attributes of")?;
    for name in list.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let value = read_growing(|buffer| rustix::fs::getxattr(&path, name, buffer))
            .doing("read the attributes of")?;
        metadata.xattrs.push(Xattr {
            name: name.to_vec(),
            value,
        });
    }
    Ok(metadata)
}

fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // An attribute and the list of names have at most 64 KiB.
            Err(Errno::RANGE) if buffer.len() < 64 * 1024 => buffer.resize(64 * 1024, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Shares the extents if the file system can. Otherwise copies inside the kernel, leaving out holes.
fn copy_content(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<(), Failure> {
    if size == 0 || rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    rustix::fs::ftruncate(to, size).doing("set the size of the copy of")?;
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => break,
            // Some file systems do not support holes.
            Err(Errno::INVAL) => position,
            other => other.doing("look for content of")?,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(size);
        copy_range(from, to, start, end)?;
        position = end;
    }
    Ok(())
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<(), Failure> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let length = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length)
        {
            // Shorter than a moment ago: another process wrote to a layer.
            Ok(0) => return Err(Failure::Kernel("copy the whole of", Errno::IO)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Err(errno) => return Err(Failure::Kernel("copy", errno)),
        }
    }
    Ok(())
}

/// For pairs of file systems between which the kernel does not copy.
fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, mut position: u64, end: u64) -> Result<(), Failure> {
    let mut buffer = vec![0; 256 * 1024];
    while position < end {
        let length = usize::try_from(end - position)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = match rustix::io::pread(from, &mut buffer[..length], position) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Err(Failure::Kernel("copy the whole of", Errno::IO)),
            other => other.doing("read")?,
        };
        let mut written = 0;
        while written < count {
            match rustix::io::pwrite(to, &buffer[written..count], position + written as u64) {
                Err(Errno::INTR) => {}
                other => written += other.doing("write the copy of")?,
            }
        }
        position += count as u64;
    }
    Ok(())
}
