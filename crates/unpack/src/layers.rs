//! The layers of an image: one immutable tree for each, and what they show together.
//!
//! [`LayerStore`] makes and keeps the trees. [`Layers`] is an ordered selection of them that can be mounted, copied or read. Nothing
//! outside this module knows the paths inside the store.

mod copy;
pub mod merged;
mod store;
mod writer;

pub(crate) use copy::metadata_of;
pub(crate) use store::is_of_nothing;
pub use store::{Detached, LayerStore};
pub use writer::{LayerWriter, StagedTree};

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use box_cache::DiffId;
use rustix::fs::{CWD, Mode, OFlags};

use crate::descriptors::RaisedLimit;
use crate::error::Error;
use merged::Merged;

/// The ordered layers of one image, the topmost last. Cheap to make and to clone: it holds names, and no open file.
///
/// From a store: [`LayerStore::layers`], [`LayerStore::stacked`], [`LayerStore::empty`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    ids: Vec<DiffId>,
    /// One per id, preceded by the directory of [`Layers::over`], if any.
    trees: Vec<PathBuf>,
}

impl Layers {
    /// Directories outside of any store, topmost last. They have no ids.
    pub fn of_directories(trees: impl IntoIterator<Item = PathBuf>) -> Layers {
        Layers {
            ids: Vec::new(),
            trees: trees.into_iter().collect(),
        }
    }

    /// The same with one more directory below all others. It is not a layer of the image and has no id.
    #[must_use]
    pub fn over(&self, lowest: PathBuf) -> Layers {
        Layers {
            ids: self.ids.clone(),
            trees: [lowest]
                .into_iter()
                .chain(self.trees.iter().cloned())
                .collect(),
        }
    }

    /// The layers as they are stacked, topmost last: without those that an opaque root hides, and each of them once.
    pub fn ids(&self) -> &[DiffId] {
        &self.ids
    }

    /// The number of trees to mount.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether there are no trees. Neither an overlay nor a copy can be made of none.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The trees, topmost last, for the `lowerdir` of an overlay (which lists the topmost first).
    pub fn trees(&self) -> impl DoubleEndedIterator<Item = &Path> + ExactSizeIterator + Clone {
        self.trees.iter().map(PathBuf::as_path)
    }

    /// Opens the trees with `O_PATH`, topmost last. The limit on open files is raised meanwhile; the caller keeps a
    /// [`RaisedLimit`] if it opens more.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`] if a layer was removed.
    pub fn open(&self) -> Result<Vec<OwnedFd>, Error> {
        let _limit = RaisedLimit::raise();
        (0..self.trees.len()).map(|at| self.open_tree(at)).collect()
    }

    /// Opens the topmost tree with `O_PATH`, in which most files are found. `None` if there are no trees.
    pub fn open_topmost(&self) -> Result<Option<OwnedFd>, Error> {
        let topmost = self.trees.len().checked_sub(1);
        topmost.map(|at| self.open_tree(at)).transpose()
    }

    /// The merged view that an overlay of these layers shows, read without mounting one.
    pub fn merged(&self) -> Result<Merged, Error> {
        Merged::open(self)
    }

    /// Copies the trees, the lowest first, to `target`, which must be empty or not exist yet: for machines without overlayfs.
    ///
    /// Whiteouts and opaque directories are carried out; owners, modes, times, attributes, holes, and hard links within a layer
    /// are kept. Content is shared where the file system can (reflinks), but never by hard links, so a write to the copy does not
    /// reach the layer. On failure `target` is left as it was.
    pub fn copy_to(&self, target: &Path) -> Result<(), Error> {
        copy::copy(self, target)
    }

    /// Checks that each tree exists. [`LayerStore::layers`] and [`LayerStore::stacked`] do not look for every tree, to save system
    /// calls: a caller whose mount failed can find the missing layer here.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`] for the topmost one that is missing.
    pub fn check(&self) -> Result<(), Error> {
        (0..self.trees.len())
            .rev()
            .try_for_each(|at| self.open_tree(at).map(drop))
    }

    fn open_tree(&self, at: usize) -> Result<OwnedFd, Error> {
        let path = &self.trees[at];
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| {
            let above = self.trees.len() - at;
            let id = self.ids.len().checked_sub(above).map(|at| &self.ids[at]);
            Error::layer("open layer", id, path, errno)
        })
    }
}

#[cfg(test)]
mod tests;
