//! The errors of unpacking, with the entry, offset, path and values that say where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use box_cache::{DiffId, Reason};
use rustix::io::Errno;

use crate::entry::Problem;

/// An error of unpacking. When one is returned, nothing was published and no half-written file is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is damaged, contains something that is refused, or exceeds a limit.
    #[error("{position}: {problem}")]
    Archive {
        /// Where in the archive.
        position: Position,
        /// The problem.
        problem: Problem,
    },
    /// The kernel refused to create an entry of the archive.
    #[error("{position}: cannot {action}: {}", Reason(source))]
    Write {
        /// Where in the archive.
        position: Position,
        /// The failed action, as a verb phrase after "cannot".
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// Reading the archive failed.
    #[error("cannot read the archive: {}", Reason(.0))]
    Read(io::Error),
    /// A system call on a path of the host failed.
    #[error("cannot {action} {}: {}", path.display(), Reason(source))]
    Io {
        /// The failed action, as a verb phrase after "cannot".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The uncompressed layer does not have the digest in its image.
    #[error("the layer's uncompressed content has the digest {actual}, its image says {expected}")]
    DiffId {
        /// The digest in the image's config.
        expected: Box<DiffId>,
        /// The digest of the uncompressed layer.
        actual: Box<DiffId>,
    },
    /// A layer's tree is not in the store. It was removed, or never made.
    #[error("layer {0} is missing")]
    MissingLayer(Box<DiffId>),
    /// A merged view needs at least one layer.
    #[error("cannot read the layers: there are none")]
    NoLayers,
    /// The directory to unpack into is not empty.
    #[error("{} is not empty: it contains {first:?}", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of its entries.
        first: String,
    },
    /// Not a directory.
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// The writer was dropped, or failed earlier.
    #[error("unpacking was abandoned before the archive ended")]
    Abandoned,
}

impl Error {
    /// An error of opening a layer's tree.
    pub(crate) fn layer(
        action: &'static str,
        id: Option<&DiffId>,
        tree: &Path,
        errno: Errno,
    ) -> Error {
        match (id, errno) {
            (Some(id), Errno::NOENT) => Error::MissingLayer(Box::new(*id)),
            _ => Error::io(action, tree, errno),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Error {
        Error::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}

/// A position in the uncompressed archive: the entry (if its name is known) and the offset of its header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The entry's name, as in the archive.
    pub entry: Option<Vec<u8>>,
    /// Byte offset of the entry's header in the uncompressed archive.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(name) => write!(f, "archive entry {} at byte {}", Quoted(name), self.offset),
            None => write!(f, "archive header at byte {}", self.offset),
        }
    }
}

/// Bytes from an archive, printed for a terminal: quoted, escaped, and truncated if very long.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        let (shown, rest) = self.0.split_at(self.0.len().min(SHOWN));
        write!(f, "\"")?;
        for chunk in shown.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        write!(f, "\"")?;
        match rest.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more bytes"),
        }
    }
}
