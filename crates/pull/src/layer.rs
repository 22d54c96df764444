//! Where the bytes of a layer go while they arrive: the caller's unpacking.

mod tap;

use std::io;

use box_cache::{DiffId, Synced};

use crate::BoxError;

pub(crate) use tap::LayerTap;

/// Starts layers. What happens to their bytes is the caller's business; a pull needs only their [`DiffId`].
pub trait LayerSink: Send + Sync {
    /// Starts one layer. Its first bytes tell how it is compressed. `expected` is the digest of its content, if a config names it; it
    /// is compared by the caller.
    fn layer(&self, expected: Option<&DiffId>) -> io::Result<Box<dyn LayerWriter>>;
}

/// A layer in progress. If it is dropped before [`LayerWriter::finish`], it is discarded.
pub trait LayerWriter: io::Write + Send {
    /// Completes the layer after its last byte.
    fn finish(self: Box<Self>) -> Result<Box<dyn StagedLayer>, BoxError>;
}

/// A whole layer that is not visible yet. If it is dropped before [`StagedLayer::publish`], it is discarded.
pub trait StagedLayer: Send {
    /// The digest of its uncompressed tar archive.
    fn diff_id(&self) -> &DiffId;

    /// Syncs the layer to disk, and with it all that was written to the same file system before. Returns which file system
    /// that is, and the directory that will hold the layer's name; `None` if nothing is kept.
    fn sync(&mut self) -> Result<Option<Synced>, BoxError>;

    /// Makes the layer visible, after it was synced. Its name is synced later, together with the image's.
    fn publish(self: Box<Self>) -> Result<(), BoxError>;
}
