//! The worker's loop: writes every member of one archive to a tree.

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::archive::Archive;
use crate::error::{Error, Position};
use crate::metadata::Creator;
use crate::tree::{Flavor, LinkBudget, Tree};

/// The statistics of one archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of all files, including holes of sparse ones.
    pub bytes: u64,
    /// Bytes of the uncompressed archive.
    pub decoded: u64,
    /// Whether it had an entry for the tree's root.
    pub root: bool,
}

/// Writes an archive below `root`. The calling thread must have been started for this, as its umask is changed.
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
