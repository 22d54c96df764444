//! What can go wrong, with the entry, offset, path and values that say where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use box_cache::{DiffId, Reason};
use rustix::io::Errno;

use crate::entry::Problem;

/// A failed unpacking. Nothing is published and nothing half-written is left when one is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is damaged, says something that is refused, or exceeds a limit.
    #[error("{position}: {problem}")]
    Archive {
        /// Where in the archive.
        position: Position,
        /// What is wrong there.
        problem: Problem,
    },
    /// The kernel refused to make what the archive says.
    #[error("{position}: cannot {action}: {}", Reason(source))]
    Write {
        /// Where in the archive.
        position: Position,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Reading the archive failed.
    #[error("cannot read the archive: {}", Reason(.0))]
    Read(io::Error),
    /// Something failed on a path of the host that is no part of an archive.
    #[error("cannot {action} {}: {}", path.display(), Reason(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The decoded layer is not what its image says it is.
    #[error("the layer's uncompressed content has the digest {actual}, its image says {expected}")]
    DiffId {
        /// From the image's config.
        expected: Box<DiffId>,
        /// Of what was decoded.
        actual: Box<DiffId>,
    },
    /// A layer's tree is not in the store: it was removed, or never made.
    #[error("layer {0} is missing")]
    MissingLayer(Box<DiffId>),
    /// An image's layers are to be read, and there are none.
    #[error("cannot read the layers: there are none")]
    NoLayers,
    /// The directory to unpack into holds something already.
    #[error("{} is not empty: it holds {first:?}", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of its entries.
        first: String,
    },
    /// What should be a directory is something else.
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// The writer was dropped, or failed before.
    #[error("unpacking was given up before the archive ended")]
    Abandoned,
}

impl Error {
    /// A step that failed at the root of a layer's tree.
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

/// A position in the decoded archive: the entry (where its name is known) and the offset of its header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The entry's name as the archive spells it.
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

/// Bytes from an archive, fit for a terminal: quoted, escaped, and cut where they are absurdly long.
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
