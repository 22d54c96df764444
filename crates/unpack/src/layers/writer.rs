//! One layer in the making: its bytes are pushed in, its tree gets a name at the end.

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

/// A layer in the making. Takes the layer's bytes as they come, packed or not; dropped, it leaves nothing.
pub struct LayerWriter {
    // In this order: the worker has ended before its directory is removed.
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
        // What a layer without an entry for its root gets.
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

    /// As [`Write::write_all`], with this crate's error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pipeline.write(bytes)?;
        self.writeback.took(bytes.len(), || reopen(&self.staging));
        Ok(())
    }

    /// All bytes were given: the tree is complete, but seen by nobody yet.
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
    /// Fails with an [`Error`] of this crate inside the `io::Error`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A complete tree that has no name yet. Dropped, it is removed.
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

    /// What was in it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Brings the tree to the disk, and with it all that was written to its file system before.
    ///
    /// By one syncfs(2): to wait for thousands of files one by one takes many times as long. It tells of every failure
    /// to write since the tree's directory was opened, which was before its first file.
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

    /// Brings the tree to the disk and gives it its name. Where another maker was faster, this one's is discarded. After
    /// [`StagedTree::sync`] nothing waits for the disk here: the caller does, for the directory that has the name now.
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

/// A layer's directory as [`Writeback`] wants it.
fn reopen(staging: &Staging) -> Option<OwnedFd> {
    staging::open_directory(staging.path()).ok()
}
