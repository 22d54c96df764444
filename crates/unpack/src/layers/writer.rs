//! Making one layer from bytes that are pushed.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use box_cache::{Algorithm, DiffId, Synced, sync_directory};
use rustix::fs::Mode;

use super::store::LayerStore;
use crate::archive::Archive;
use crate::error::Error;
use crate::limits::Limits;
use crate::pipeline::Pipeline;
use crate::staging::{self, Staging};
use crate::tree::Flavor;
use crate::work::{self, Summary};
use crate::writeback::Writeback;

/// An unfinished layer. Takes the layer's bytes in any pieces, compressed or not. When dropped, it leaves nothing.
pub struct LayerWriter {
    // In this order: the worker must end before its directory is removed.
    pipeline: Pipeline<Summary>,
    writeback: Writeback,
    staging: Staging,
    store: LayerStore,
}

impl LayerWriter {
    pub(super) fn start(
        store: &LayerStore,
        limits: Limits,
        algorithm: Algorithm,
        may_be_empty: bool,
    ) -> Result<LayerWriter, Error> {
        let parent = store.staging()?;
        let staging = Staging::create(&parent, "")?;
        // The mode of a layer without an entry for its root.
        rustix::fs::fchmod(staging.dir(), Mode::from_raw_mode(0o755))
            .map_err(|errno| Error::io("change the mode of a directory in", &parent, errno))?;
        let root = staging.duplicate()?;
        let work = move |archive: &mut Archive<_>| {
            if may_be_empty {
                archive.accept_nothing();
            }
            work::write_tree(archive, root, Flavor::Layer, false, Default::default())
        };
        let pipeline = Pipeline::start(limits, Some(algorithm), work)?;
        Ok(LayerWriter {
            pipeline,
            writeback: Writeback::default(),
            staging,
            store: store.clone(),
        })
    }

    /// Like [`Write::write_all`], with this crate's error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pipeline.write(bytes)?;
        self.writeback.took(bytes.len(), || reopen(&self.staging));
        Ok(())
    }

    /// Ends the layer after all bytes were pushed. Its tree is complete, but not visible yet.
    pub fn finish(self) -> Result<StagedTree, Error> {
        let meanwhile = || self.writeback.rest(|| reopen(&self.staging));
        let outcome = self.pipeline.finish(meanwhile, || Ok(()))?;
        let digest = outcome
            .digest
            .expect("a layer's pipeline is started with an algorithm");
        let summary = Summary {
            decoded: outcome.decoded,
            ..outcome.result
        };
        Ok(StagedTree {
            diff_id: DiffId(digest),
            summary,
            staging: self.staging,
            store: self.store,
            synced: false,
        })
    }
}

impl Write for LayerWriter {
    /// The `io::Error` contains an [`Error`] of this crate.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A complete tree without a name. Removed when dropped.
#[derive(Debug)]
pub struct StagedTree {
    diff_id: DiffId,
    summary: Summary,
    staging: Staging,
    store: LayerStore,
    synced: bool,
}

impl StagedTree {
    /// Digest of the uncompressed layer.
    pub fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// Its statistics.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Syncs the tree, and with it everything that was written to its file system before.
    ///
    /// This is one syncfs(2): to sync thousands of files one by one takes many times as long. It reports every write error since the
    /// tree's directory was opened, which was before its first file.
    pub fn sync(&mut self) -> Result<Synced, Error> {
        let failed = |errno| Error::io("sync", self.store.root(), errno);
        rustix::fs::syncfs(self.staging.dir()).map_err(failed)?;
        self.synced = true;
        let device = rustix::fs::fstat(self.staging.dir())
            .map_err(failed)?
            .st_dev;
        Ok(Synced {
            device,
            directory: self.store.root().to_owned(),
        })
    }

    /// Syncs and names the tree. If another maker was faster, this tree is discarded. After [`StagedTree::sync`] nothing is synced
    /// here: the caller then syncs the directory of the new name.
    pub fn publish(mut self) -> Result<PathBuf, Error> {
        let path = self.store.path(&self.diff_id);
        if path.is_dir() {
            return Ok(path);
        }
        let synced = self.synced;
        if !synced {
            self.sync()?;
        }
        if self.staging.rename(&path)? && !synced {
            let root = self.store.root();
            sync_directory(root).map_err(|source| Error::io("sync directory", root, source))?;
        }
        Ok(path)
    }
}

/// Opens a layer's directory for [`Writeback`].
fn reopen(staging: &Staging) -> Option<OwnedFd> {
    staging::open_directory(staging.path()).ok()
}
