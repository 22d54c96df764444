//! Creating one entry in an open directory, replacing anything that has its name.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directories::{self, Open};
use super::{Doing, Failure, Flavor, Tree, remove};
use crate::entry::{EntryPath, Metadata, Problem};
use crate::metadata;
use crate::whiteout::{self, Whiteout};

/// An entry that is created by name, without a descriptor.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Symlink(&'a [u8]),
    /// Block instead of character device, major, minor.
    Device(bool, u32, u32),
    Fifo,
}

impl Tree {
    /// Creates an empty file.
    pub(super) fn create_file(
        &mut self,
        parent: usize,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<OwnedFd, Failure> {
        const NEW: OFlags = OFlags::WRONLY
            .union(OFlags::CREATE)
            .union(OFlags::EXCL)
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        // Set-id bits are set last, after owner and content.
        let mode = Mode::from_raw_mode(metadata.mode & 0o1777);
        self.create(parent, name, "create the file", |dir| {
            rustix::fs::openat(dir, name, NEW, mode)
        })
    }

    /// Creates a symbolic link, device or fifo with all its metadata.
    pub(super) fn create_node(
        &mut self,
        parent: usize,
        name: &[u8],
        metadata: &Metadata,
        node: Node<'_>,
    ) -> Result<(), Failure> {
        let mode = Mode::from_raw_mode(metadata.mode);
        match node {
            Node::Symlink(target) => {
                self.create(parent, name, "create the symbolic link", |dir| {
                    rustix::fs::symlinkat(target, dir, name)
                })?;
            }
            Node::Device(block, major, minor) => {
                let kind = if block {
                    FileType::BlockDevice
                } else {
                    FileType::CharacterDevice
                };
                let device = rustix::fs::makedev(major, minor);
                self.create(parent, name, "create the device node", |dir| {
                    rustix::fs::mknodat(dir, name, kind, mode, device)
                })?;
            }
            Node::Fifo => {
                self.create(parent, name, "create the fifo", |dir| {
                    rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0)
                })?;
            }
        }
        let open = self.directories.at(parent);
        let symlink = matches!(node, Node::Symlink(_));
        self.creator
            .finish_node(&open.fd, name, metadata, symlink, open.setgid)
    }

    /// Creates another name of an earlier entry. The target's last component is not followed: a hard link to a symbolic link is a
    /// second name of that link.
    pub(super) fn hard_link(
        &mut self,
        path: &EntryPath,
        target: &EntryPath,
        metadata: &Metadata,
    ) -> Result<(), Failure> {
        let missing = || Failure::Refused(Problem::LinkTarget(target.as_bytes().to_vec()));
        let (Some((parent, name)), Some((from, old))) = (path.split(), target.split()) else {
            return Err(Problem::LinkToDirectory(target.as_bytes().to_vec()).into());
        };
        let from = match self.directories.find(from) {
            Ok(index) => self.directories.at(index).fd.clone(),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(errno) => return Err(Failure::Kernel("open the directory of its target", errno)),
        };
        let stat = match rustix::fs::statat(&*from, old, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(missing()),
            Err(errno) => return Err(Failure::Kernel("look at its target", errno)),
        };
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Problem::LinkToDirectory(target.as_bytes().to_vec()).into());
        }
        let parent = self.parent(parent, metadata)?;
        let dir = self.directories.at(parent).fd.clone();
        // A link onto itself must not remove its own target first.
        if let Ok(there) = rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW)
            && (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        let link = |dir: &OwnedFd| rustix::fs::linkat(&*from, old, dir, name, AtFlags::empty());
        match self.create(parent, name, "create the hard link", link) {
            // Its target was inside what it replaced.
            Err(Failure::Kernel(_, Errno::NOENT)) => Err(missing()),
            other => other,
        }
    }

    /// Creates a directory, or gives an existing one this metadata.
    pub(super) fn directory(
        &mut self,
        path: &EntryPath,
        metadata: &Metadata,
    ) -> Result<(), Failure> {
        let Some((parent, name)) = path.split() else {
            return self.root(metadata);
        };
        let parent = self.parent(parent, metadata)?;
        let opaque = self.replace_whiteout(parent, name)?;
        match self.new_directory(parent, path.as_bytes(), name, metadata, opaque) {
            Err(Failure::Kernel(_, Errno::EXIST)) => {}
            other => return other.map(|_| ()),
        }
        let dir = self.directories.at(parent).fd.clone();
        match rustix::fs::openat(&*dir, name, directories::OPEN, Mode::empty()) {
            Ok(_) => {
                self.note_made(parent, name)?;
                let index = self
                    .directories
                    .find(path.as_bytes())
                    .doing("open the directory")?;
                let open = self.directories.at(index);
                metadata::set_directory(&open.fd, metadata)?;
                open.mtime = Some(metadata.mtime);
                open.setgid = metadata.mode & 0o2000 != 0;
                self.creator.note_default_acl(metadata);
                Ok(())
            }
            // This includes a symbolic link to a directory: the last entry of a name counts.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.make_room(parent, name)?;
                self.new_directory(parent, path.as_bytes(), name, metadata, false)
                    .map(|_| ())
            }
            Err(errno) => Err(Failure::Kernel("open the directory", errno)),
        }
    }

    /// Creates a directory under an unused name, and keeps it open.
    pub(super) fn new_directory(
        &mut self,
        parent: usize,
        path: &[u8],
        name: &[u8],
        metadata: &Metadata,
        opaque: bool,
    ) -> Result<usize, Failure> {
        self.note_made(parent, name)?;
        let Open {
            fd: dir, setgid, ..
        } = self.directories.at(parent);
        let (dir, setgid) = (dir.clone(), *setgid);
        let mode = Mode::from_raw_mode(metadata.mode & 0o1777);
        rustix::fs::mkdirat(&*dir, name, mode).doing("create the directory")?;
        let made = rustix::fs::openat(&*dir, name, directories::OPEN, Mode::empty())
            .doing("open the directory")?;
        self.creator.finish_directory(&made, metadata, setgid)?;
        if opaque {
            self.marks.set_opaque(&made)?;
        }
        let open = Open::new(made, Some(metadata.mtime), metadata.mode & 0o2000 != 0);
        self.directories.insert(path, open)
    }

    /// In a layer, removes a whiteout of this name to make room for a directory. Returns true if there was one: then the directory has to
    /// hide what the whiteout hid.
    pub(super) fn replace_whiteout(&mut self, parent: usize, name: &[u8]) -> Result<bool, Failure> {
        if self.flavor != Flavor::Layer || !self.marks.any {
            return Ok(false);
        }
        let dir = self.directories.at(parent).fd.clone();
        match rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat)
                if whiteout::is_whiteout(&dir, name, &stat)
                    .doing("look at what it replaces")? =>
            {
                rustix::fs::unlinkat(&*dir, name, AtFlags::empty())
                    .doing("remove the whiteout before it")?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Applies a whiteout entry.
    pub(super) fn whiteout(
        &mut self,
        whiteout: &Whiteout<'_>,
        metadata: &Metadata,
    ) -> Result<(), Failure> {
        let (Whiteout::Opaque { directory } | Whiteout::Name { directory, .. }) = whiteout;
        if self.directories.leads_through_link(directory) {
            return Err(Problem::Whiteout("a symbolic link is on the path").into());
        }
        match (whiteout, self.flavor) {
            (Whiteout::Opaque { directory }, Flavor::Layer) => {
                let index = self.parent(directory, metadata)?;
                self.marks
                    .set_opaque(&self.directories.at(index).fd.clone())
            }
            (Whiteout::Name { directory, name }, Flavor::Layer) => {
                let parent = self.parent(directory, metadata)?;
                let dir = self.directories.at(parent).fd.clone();
                self.marks.hide(&dir, name, metadata.mtime)
            }
            (Whiteout::Opaque { directory }, Flavor::Plain) => {
                match self.lower_directory(directory)? {
                    Some(index) => self.clear_lower(index),
                    None => Ok(()),
                }
            }
            (Whiteout::Name { directory, name }, Flavor::Plain) => {
                match self.lower_directory(directory)? {
                    Some(parent) => self.remove_lower(parent, name),
                    None => Ok(()),
                }
            }
        }
    }

    /// The directory of a whiteout. None if it does not exist: then there is nothing to delete.
    fn lower_directory(&mut self, path: &[u8]) -> Result<Option<usize>, Failure> {
        if self.made.is_none() {
            return Ok(None);
        }
        match self.directories.find(path) {
            Ok(index) => Ok(Some(index)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(Failure::Kernel("open the directory it is in", errno)),
        }
    }

    /// Removes what earlier layers created in a directory.
    fn clear_lower(&mut self, index: usize) -> Result<(), Failure> {
        self.directories.forget_paths(index)?;
        let open = self.directories.at(index);
        let (dir, identity) = (open.fd.clone(), open.identity()?);
        match &mut self.made {
            Some(made) => made.clear_lower(&dir, identity),
            None => Ok(()),
        }
    }

    fn remove_lower(&mut self, parent: usize, name: &[u8]) -> Result<(), Failure> {
        self.directories.forget_paths(parent)?;
        let open = self.directories.at(parent);
        let (dir, identity) = (open.fd.clone(), open.identity()?);
        match &mut self.made {
            Some(made) => made.remove_lower(&dir, identity, name).map(drop),
            None => Ok(()),
        }
    }

    /// Creates an entry. If its name is taken, removes what has it and tries again.
    fn create<T>(
        &mut self,
        parent: usize,
        name: &[u8],
        action: &'static str,
        make: impl Fn(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        self.note_made(parent, name)?;
        let dir = self.directories.at(parent).fd.clone();
        match make(&dir) {
            Err(Errno::EXIST) => {
                self.make_room(parent, name)?;
                make(&dir).doing(action)
            }
            other => other.doing(action),
        }
    }

    /// Removes what has the name, with everything below it.
    fn make_room(&mut self, parent: usize, name: &[u8]) -> Result<(), Failure> {
        let dir = self.directories.at(parent).fd.clone();
        let stat = rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .doing("look at what it replaces")?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.directories.forget_paths(parent)?;
                remove::tree(&dir, name).doing("remove the directory it replaces")
            }
            FileType::Symlink => {
                self.directories.forget_paths(parent)?;
                rustix::fs::unlinkat(&*dir, name, AtFlags::empty())
                    .doing("remove the link it replaces")
            }
            _ => {
                rustix::fs::unlinkat(&*dir, name, AtFlags::empty()).doing("remove what it replaces")
            }
        }
    }
}
