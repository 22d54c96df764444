//! The tree writer: creates all entries of an archive, below one directory descriptor.
//!
//! How it stays below: the kernel resolves the directory part of a path with `RESOLVE_IN_ROOT` and `RESOLVE_NO_MAGICLINKS`
//! (openat2(2)), so that any symbolic link in the archive, absolute or not, leads to a place inside. The last component is a name
//! without a slash, passed to calls that do not follow links (`O_EXCL`, `O_NOFOLLOW`, `AT_SYMLINK_NOFOLLOW`). No path ever contains
//! that of the root.

mod content;
mod create;
mod directories;
mod failure;
mod link_budget;
mod made;
pub(crate) mod remove;

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use self::directories::{Directories, Open};
pub(crate) use self::failure::{Doing, Failure};
pub(crate) use self::link_budget::LinkBudget;
use self::made::Made;
use crate::archive::Archive;
use crate::entry::{Entry, EntryKind, EntryPath, Metadata, Problem};
use crate::error::Error;
use crate::metadata::{self, Creator};
use crate::whiteout::{Marks, Whiteout};

/// How whiteouts are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// A layer of an overlay: character devices 0:0 and opaque directories.
    Layer,
    /// A plain directory: they delete what they name, unless this archive created it.
    Plain,
}

/// A tree that archives are written to.
pub(crate) struct Tree {
    directories: Directories,
    flavor: Flavor,
    marks: Marks,
    links: Arc<LinkBudget>,
    creator: Creator,
    /// Everything that this archive created so far. None if there were no earlier layers to which whiteouts could apply.
    made: Option<Made>,
    /// The number of directories created for the current entry that have no entry.
    implied: u64,
    /// Whether the archive had an entry for the root.
    has_root: bool,
}

impl Tree {
    /// A writer below `root`, which is an empty directory, or with `over_others` one that contains earlier layers. `links` is the same
    /// for all of them. To be used in the thread that made `creator`.
    pub fn new(
        root: OwnedFd,
        flavor: Flavor,
        over_others: bool,
        links: Arc<LinkBudget>,
        mut creator: Creator,
    ) -> Result<Tree, Failure> {
        creator.inspect_root(&root)?;
        let stat = rustix::fs::fstat(&root).doing("look at the directory to unpack to")?;
        let own = rustix::fs::openat(&root, ".", directories::OPEN, Mode::empty())
            .doing("open the directory to unpack to")?;
        let mut directories = Directories::new(root, links.clone());
        directories.insert(b"", Open::new(own, None, stat.st_mode & 0o2000 != 0))?;
        let made = (flavor == Flavor::Plain && over_others).then(Made::default);
        Ok(Tree {
            directories,
            flavor,
            marks: Marks::for_this_process(),
            links,
            creator,
            made,
            implied: 0,
            has_root: false,
        })
    }

    /// Whether there was an entry for the root.
    pub fn has_root(&self) -> bool {
        self.has_root
    }

    /// Writes one entry, with a file's content from the archive.
    pub fn apply<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Error> {
        let applied = match Whiteout::of(entry) {
            Ok(Some(whiteout)) => self.whiteout(&whiteout, &entry.metadata),
            Ok(None) => self.write(entry, archive),
            Err(problem) => Err(problem.into()),
        };
        let applied = applied.and_then(|()| Ok(self.links.check()?));
        applied.map_err(|failure| failure.at(archive.position()))?;
        archive.count_implied(std::mem::take(&mut self.implied))
    }

    /// Sets the times of directories after the last entry.
    pub fn finish(self) -> Result<(), Failure> {
        self.directories.close()
    }

    fn write<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), Failure> {
        let metadata = &entry.metadata;
        let Some((parent, name)) = entry.path.split() else {
            return self.root(metadata);
        };
        match &entry.kind {
            EntryKind::Directory => self.directory(&entry.path, metadata),
            EntryKind::File { size, sparse } => {
                let parent = self.parent(parent, metadata)?;
                let file = self.create_file(parent, name, metadata)?;
                content::write(&file, *size, sparse.as_ref(), archive)?;
                self.creator
                    .finish_file(&file, metadata, self.directories.at(parent).setgid)
            }
            EntryKind::Symlink { target } => {
                self.links.note(target);
                let parent = self.parent(parent, metadata)?;
                self.create_node(parent, name, metadata, create::Node::Symlink(target))
            }
            EntryKind::Device {
                block,
                major,
                minor,
            } => {
                if self.flavor == Flavor::Layer && !block && (*major, *minor) == (0, 0) {
                    return Err(Problem::WhiteoutDevice.into());
                }
                let parent = self.parent(parent, metadata)?;
                self.create_node(
                    parent,
                    name,
                    metadata,
                    create::Node::Device(*block, *major, *minor),
                )
            }
            EntryKind::Fifo => {
                let parent = self.parent(parent, metadata)?;
                self.create_node(parent, name, metadata, create::Node::Fifo)
            }
            EntryKind::HardLink { target } => self.hard_link(&entry.path, target, metadata),
        }
    }

    fn root(&mut self, metadata: &Metadata) -> Result<(), Failure> {
        let index = self
            .directories
            .find(b"")
            .doing("open the directory to unpack to")?;
        let open = self.directories.at(index);
        metadata::set_directory(&open.fd, metadata)?;
        open.mtime = Some(metadata.mtime);
        open.setgid = metadata.mode & 0o2000 != 0;
        self.creator.note_default_acl(metadata);
        self.has_root = true;
        Ok(())
    }

    /// Opens the directory of a path. Directories that the archive left out are created, owned by root, with mode 0755 and the time of
    /// the entry that needs them.
    fn parent(&mut self, path: &[u8], needed_by: &Metadata) -> Result<usize, Failure> {
        let index = self.parent_made(path, needed_by)?;
        if let Some(made) = &mut self.made {
            let open = self.directories.at(index);
            let identity = open.identity()?;
            made.hold(&open.fd, identity)
                .doing("look at the directories it is in")?;
        }
        Ok(index)
    }

    fn parent_made(&mut self, path: &[u8], needed_by: &Metadata) -> Result<usize, Failure> {
        // From the end, as most of the path usually exists and was just used.
        let mut there = path;
        let mut index = loop {
            match self.directories.find(there) {
                Ok(index) => break index,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !there.is_empty() => {
                    there = EntryPath::split_bytes(there).0;
                }
                Err(errno) => return Err(Failure::Kernel("open the directory it is in", errno)),
            }
        };
        if there.len() == path.len() {
            return Ok(index);
        }
        let implied = Metadata {
            mode: 0o755,
            mtime: needed_by.mtime,
            ..Metadata::default()
        };
        let missing = if there.is_empty() { 0 } else { there.len() + 1 };
        let slashes = path[missing..]
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'/')
            .map(|(index, _)| missing + index);
        for end in slashes.chain([path.len()]) {
            index = self.implied_directory(&path[..end], &implied)?;
            self.implied += 1;
        }
        Ok(index)
    }

    /// Creates a directory that has no entry, or not yet.
    fn implied_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<usize, Failure> {
        let (parent, name) = EntryPath::split_bytes(path);
        let parent = self
            .directories
            .find(parent)
            .doing("open the directory it is in")?;
        let dir = self.directories.at(parent).fd.clone();
        if self.replace_whiteout(parent, name)? {
            return self.new_directory(parent, path, name, metadata, true);
        }
        match rustix::fs::statat(&*dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => self.new_directory(parent, path, name, metadata, false),
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                Err(Problem::ParentDangling(path.to_vec()).into())
            }
            Ok(_) => Err(Problem::ParentNotDirectory(path.to_vec()).into()),
            Err(errno) => Err(Failure::Kernel("look at the directory it is in", errno)),
        }
    }

    fn note_made(&mut self, parent: usize, name: &[u8]) -> Result<(), Failure> {
        if let Some(made) = &mut self.made {
            made.insert(self.directories.at(parent).identity()?, name);
        }
        Ok(())
    }
}
