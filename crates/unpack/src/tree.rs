//! The tree writer: everything an archive makes is made here, below one directory descriptor.
//!
//! How it stays below it: the directory part of a path is resolved by the kernel with `RESOLVE_IN_ROOT` and
//! `RESOLVE_NO_MAGICLINKS` (openat2(2)), so that a symbolic link in the archive, absolute or not, leads to a place
//! inside; the last component is one name without a slash, given to calls that do not follow it (`O_EXCL`,
//! `O_NOFOLLOW`, `AT_SYMLINK_NOFOLLOW`). No path is ever put together from the root's own path.

mod content;
mod create;
mod directories;
mod failure;
mod links;
mod made;
pub(crate) mod remove;

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use self::directories::{Directories, Open};
pub(crate) use self::failure::{Doing, Failure};
pub(crate) use self::links::Links;
use self::made::Made;
use crate::archive::Archive;
use crate::entry::{Entry, EntryPath, Kind, Metadata, Problem};
use crate::error::Error;
use crate::metadata::{self, Creator};
use crate::whiteout::{Marks, Whiteout};

/// What whiteouts become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// A layer of an overlay: character devices 0:0 and opaque directories.
    Layer,
    /// A file system of its own: what they name is deleted, unless this archive made it.
    Plain,
}

/// A tree that archives are written to.
pub(crate) struct Tree {
    directories: Directories,
    flavor: Flavor,
    marks: Marks,
    links: Arc<Links>,
    creator: Creator,
    /// What this archive made so far; none where there was nothing before it that whiteouts could mean.
    made: Option<Made>,
    /// Directories made for the current entry that have none of their own.
    implied: u64,
    /// Whether the archive had an entry for the root.
    has_root: bool,
}

impl Tree {
    /// A writer below `root`, an empty directory, or with `over_others` one that earlier layers were unpacked to.
    /// `links` is the same for all
    /// of them. Runs in the thread that `creator` was made in.
    pub fn new(
        root: OwnedFd,
        flavor: Flavor,
        over_others: bool,
        links: Arc<Links>,
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

    /// Writes one entry; a file's content is taken from the archive it came from.
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
        applied.map_err(|failure| failure.at(archive.place()))?;
        archive.count_implied(std::mem::take(&mut self.implied))
    }

    /// Sets what had to wait for the last child.
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
            Kind::Directory => self.directory(&entry.path, metadata),
            Kind::File { size, sparse } => {
                let parent = self.parent(parent, metadata)?;
                let file = self.create_file(parent, name, metadata)?;
                content::write(&file, *size, sparse.as_ref(), archive)?;
                self.creator
                    .finish_file(&file, metadata, self.directories.at(parent).setgid)
            }
            Kind::Symlink { target } => {
                self.links.note(target);
                let parent = self.parent(parent, metadata)?;
                self.create_node(parent, name, metadata, create::Node::Symlink(target))
            }
            Kind::Device {
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
            Kind::Fifo => {
                let parent = self.parent(parent, metadata)?;
                self.create_node(parent, name, metadata, create::Node::Fifo)
            }
            Kind::HardLink { target } => self.hard_link(&entry.path, target, metadata),
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

    /// The open directory of that path, made with all that lead to it where the archive left them out: owned by root,
    /// mode 0755, as old as the entry that needs them.
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
        // From the end, as most of the way is there mostly, and was used just before.
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

    /// Makes a directory that has no entry of its own (yet).
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
