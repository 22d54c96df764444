//! Where the bytes of a layer go while they arrive: the caller's unpacking.

use std::io;

use box_cache::{DiffId, Synced};

use crate::BoxError;

/// Starts layers. What becomes of their bytes is the caller's business; pulling only needs to learn their [`DiffId`].
pub trait LayerSink: Send + Sync {
    /// Starts one layer. How it is compressed is told by its first bytes.
    fn layer(&self) -> io::Result<Box<dyn LayerWriter>>;
}

/// One layer on its way. Dropped before [`LayerWriter::finish`], it is discarded.
pub trait LayerWriter: io::Write + Send {
    /// All bytes were given.
    fn finish(self: Box<Self>) -> Result<Box<dyn StagedLayer>, BoxError>;
}

/// A whole layer that nobody sees yet. Dropped before [`StagedLayer::publish`], it is discarded.
pub trait StagedLayer: Send {
    /// The digest of its uncompressed tar archive.
    fn diff_id(&self) -> &DiffId;

    /// Brings it to the disk, and with it all that was written to its file system before, and tells which that is and
    /// where the layer gets its name; none where nothing is kept.
    fn sync(&mut self) -> Result<Option<Synced>, BoxError>;

    /// Makes it visible, after it was brought to the disk. Its name follows to the disk with the image's.
    fn publish(self: Box<Self>) -> Result<(), BoxError>;
}
