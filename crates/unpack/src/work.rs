//! The worker's loop: every member of one archive into a tree.

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::archive::Archive;
use crate::error::{Error, Position};
use crate::metadata::Creator;
use crate::tree::{Flavor, LinkBudget, Tree};

/// What one archive held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of all files, holes of sparse ones included.
    pub bytes: u64,
    /// Bytes of the uncompressed archive.
    pub decoded: u64,
    /// Whether it said what the tree's root is to be.
    pub root: bool,
}

/// Writes an archive below `root`, in the calling thread, which must be one made for this: its umask changes.
pub(crate) fn write_tree<R: BufRead>(
    archive: &mut Archive<R>,
    root: OwnedFd,
    flavor: Flavor,
    over_others: bool,
    links: Arc<LinkBudget>,
) -> Result<Summary, Error> {
    let start = Position::default();
    let tree = Tree::new(root, flavor, over_others, links, Creator::for_this_thread());
    let mut tree = tree.map_err(|failure| failure.at(&start))?;
    while let Some(entry) = archive.next_entry()? {
        tree.apply(&entry, archive)?;
    }
    let root = tree.has_root();
    tree.finish()
        .map_err(|failure| failure.at(archive.position()))?;
    let (entries, bytes) = archive.totals();
    Ok(Summary {
        entries,
        bytes,
        decoded: 0,
        root,
    })
}
