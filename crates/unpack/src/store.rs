//! The layer store: one immutable tree for each layer, under the layer's diff_id.
//!
//! ```text
//! <layers>/<diff_id hex>/      a tree, complete and on disk since it has this name
//! <layers>/.staging/<unique>/  trees in the making, each locked by its maker; what nobody locks is swept
//! <layers>/.locks/<hex>        locked by who makes that layer
//! ```
//!
//! Only root enters `<layers>` (mode 0700): set-id files and device nodes in the trees are out of other users' reach.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use box_cache::{Algorithm, DiffId, Digest, Hasher, Synced};
use rustix::fs::Mode;

use crate::archive::Archive;
use crate::descriptors::reserve_descriptors;
use crate::error::Error;
use crate::limits::Limits;
use crate::pipeline::Pipeline;
use crate::staging::{self, Staging};
use crate::tree::Flavor;
use crate::whiteout::is_opaque;
use crate::work::{self, Summary};
use crate::writeback::Writeback;

const STAGING: &str = ".staging";
const LOCKS: &str = ".locks";

/// Layers made at once.
const MAKERS: usize = 2;

/// Bytes read from a blob at once.
const READ: usize = 64 * 1024;

/// The directory that holds layers' trees.
#[derive(Debug, Clone)]
pub struct LayerStore {
    directory: PathBuf,
}

impl LayerStore {
    /// The store in that directory, which is made when the first layer is.
    pub fn open(directory: impl Into<PathBuf>) -> LayerStore {
        LayerStore {
            directory: directory.into(),
        }
    }

    /// The tree of a layer, where it is there.
    pub fn get(&self, layer: &DiffId) -> Option<PathBuf> {
        let path = self.path(layer);
        path.is_dir().then_some(path)
    }

    /// All layers there are.
    pub fn list(&self) -> Result<Vec<DiffId>, Error> {
        let failed = |source| Error::io("list", &self.directory, source);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut layers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let hex = name.to_str().unwrap_or_default();
            if let Ok(digest) =
                Digest::from_sha256_hex(hex).or_else(|_| Digest::from_sha512_hex(hex))
            {
                layers.push(DiffId(digest));
            }
        }
        layers.sort();
        Ok(layers)
    }

    /// Starts a layer whose bytes are pushed; its compression is told by them, its diff_id known at the end.
    pub fn writer(&self, limits: Limits) -> Result<LayerWriter, Error> {
        self.start(limits, Algorithm::Sha256, false)
    }

    /// Makes the layer from its blob, unless it is there. Where another process makes it, its work is waited for;
    /// `open` is called only if there is something to do.
    pub fn unpack<R: Read>(
        &self,
        layer: &DiffId,
        open: impl FnOnce() -> io::Result<R>,
        limits: Limits,
    ) -> Result<PathBuf, Error> {
        if let Some(path) = self.get(layer) {
            return Ok(path);
        }
        let _making = self.lock(layer)?;
        if let Some(path) = self.get(layer) {
            return Ok(path);
        }
        let mut reader = open().map_err(Error::Read)?;
        let mut writer = self.start(limits, layer.0.algorithm(), is_of_nothing(layer))?;
        let mut buffer = vec![0; READ];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => writer.push(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        let staged = writer.finish()?;
        if staged.diff_id != *layer {
            let (expected, actual) = (Box::new(*layer), Box::new(staged.diff_id));
            return Err(Error::DiffId { expected, actual });
        }
        staged.publish()
    }

    /// The trees to stack for an image, the lowest first: all of the layers', but none below one that hides everything
    /// before it, as the overlay does not look for that mark on the layers' own roots.
    ///
    /// A layer that comes several times, as empty ones do, is there once, as the overlay refuses a tree that it has already. At
    /// its topmost place: whatever the lower one shows or hides, that one shows or hides before it.
    pub fn stack(&self, layers: &[DiffId]) -> Result<Vec<PathBuf>, Error> {
        let mut stack = Vec::with_capacity(layers.len());
        for layer in layers {
            let path = self.path(layer);
            // The lowest hides nothing, whatever it is marked with.
            if !stack.is_empty() && self.is_opaque(&path)? {
                stack.clear();
            }
            stack.retain(|below| *below != path);
            stack.push(path);
        }
        Ok(stack)
    }

    /// The tree of a layer without files: what an image that has no layers stands on, as an overlay and a copy need one.
    pub fn empty(&self) -> Result<PathBuf, Error> {
        // The end of an archive, and nothing before it.
        const NOTHING: [u8; 1024] = [0; 1024];
        let layer = DiffId(Digest::of(&NOTHING));
        self.unpack(&layer, || Ok(&NOTHING[..]), Limits::default())
    }

    /// Makes several layers, as many at once as help; each as [`LayerStore::unpack`] does. The first failure ends all.
    pub fn unpack_all<R: Read>(
        &self,
        layers: &[DiffId],
        open: impl Fn(&DiffId) -> io::Result<R> + Sync,
        limits: &Limits,
    ) -> Result<(), Error> {
        let waiting = Mutex::new(layers.iter());
        let failed = Mutex::new(None);
        let next = || {
            let over = failed.lock().is_ok_and(|failure| failure.is_some());
            if over {
                None
            } else {
                waiting.lock().ok()?.next()
            }
        };
        let make = || {
            while let Some(layer) = next() {
                if let Err(error) = self.unpack(layer, || open(layer), limits.clone())
                    && let Ok(mut failure) = failed.lock()
                {
                    failure.get_or_insert(error);
                }
            }
        };
        reserve_descriptors();
        std::thread::scope(|scope| {
            // Each layer keeps two threads busy; two layers fill each other's gaps.
            for _ in 1..layers.len().min(MAKERS) {
                scope.spawn(make);
            }
            make();
        });
        match failed.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a layer's tree; false where there was none. It is out of the store at once, whatever happens then.
    pub fn remove(&self, layer: &DiffId) -> Result<bool, Error> {
        match self.detach(layer)? {
            Some(detached) => detached.remove().map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes a layer's tree out of the store at once, for its space to be freed later; none where there was none.
    pub fn detach(&self, layer: &DiffId) -> Result<Option<Detached>, Error> {
        let path = self.path(layer);
        if !path.is_dir() {
            return Ok(None);
        }
        let staging = self.make_directory(STAGING)?;
        let taken = Staging::take(&path, &staging, "removed-")?;
        let lock = self.directory.join(LOCKS).join(layer.0.hex());
        match fs::remove_file(&lock) {
            // Who waits for it meanwhile makes the layer anew, at worst twice.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", lock, error))
            }
            _ => Ok(taken.map(Detached)),
        }
    }

    /// What killed processes left unfinished, and [`LayerStore::sweep`] removes.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, Error> {
        staging::leftovers(&self.directory.join(STAGING))
    }

    /// Removes what killed processes left unfinished; gives the number of trees removed.
    pub fn sweep(&self) -> Result<usize, Error> {
        staging::sweep(&self.directory.join(STAGING), "")
    }

    fn path(&self, layer: &DiffId) -> PathBuf {
        self.directory.join(layer.0.hex())
    }

    fn is_opaque(&self, path: &Path) -> Result<bool, Error> {
        let root = staging::open_directory(path)?;
        is_opaque(&root).map_err(|errno| Error::io("read the attributes of", path, errno))
    }

    fn start(
        &self,
        limits: Limits,
        algorithm: Algorithm,
        may_be_empty: bool,
    ) -> Result<LayerWriter, Error> {
        let parent = self.make_directory(STAGING)?;
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
            store: self.clone(),
        })
    }

    /// Excludes other makers of the layer, in this process and others.
    fn lock(&self, layer: &DiffId) -> Result<File, Error> {
        let path = self.make_directory(LOCKS)?.join(layer.0.hex());
        let file =
            File::create(&path).map_err(|source| Error::io("open the lock", &path, source))?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::io("take the lock", &path, source)),
            }
        }
    }

    fn make_directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| Error::io("create directory", &path, source))?;
        Ok(path)
    }
}

/// A layer in the making. Takes the layer's bytes as they come, packed or not; dropped, it leaves nothing.
pub struct LayerWriter {
    // In this order: the worker has ended before its directory is removed.
    pipeline: Pipeline<Summary>,
    writeback: Writeback,
    staging: Staging,
    store: LayerStore,
}

impl LayerWriter {
    /// As [`Write::write_all`], with this crate's error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pipeline.write(bytes)?;
        self.writeback.took(bytes.len(), || reopen(&self.staging));
        Ok(())
    }

    /// All bytes were given: the tree is complete, but seen by nobody yet.
    pub fn finish(self) -> Result<Staged, Error> {
        let meanwhile = || self.writeback.rest(|| reopen(&self.staging));
        let outcome = self.pipeline.finish(meanwhile, || Ok(()))?;
        let digest = outcome
            .digest
            .expect("a layer's pipeline is started with an algorithm");
        let summary = Summary {
            decoded: outcome.decoded,
            ..outcome.result
        };
        Ok(Staged {
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

/// A tree that is no longer in the store. Dropped, it is removed.
#[derive(Debug)]
pub struct Detached(Staging);

impl Detached {
    /// Where it lies until it is removed.
    pub fn path(&self) -> PathBuf {
        self.0.path().join(staging::TAKEN)
    }

    /// Frees its space, and says whether that worked.
    pub fn remove(self) -> Result<(), Error> {
        self.0.remove()
    }
}

/// A complete tree that has no name yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    diff_id: DiffId,
    summary: Summary,
    staging: Staging,
    store: LayerStore,
    synced: bool,
}

impl Staged {
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
        let failed = |errno| Error::io("sync", &self.store.directory, errno);
        rustix::fs::syncfs(self.staging.dir()).map_err(failed)?;
        self.synced = true;
        let device = rustix::fs::fstat(self.staging.dir())
            .map_err(failed)?
            .st_dev;
        Ok(Synced {
            device,
            directory: self.store.directory.clone(),
        })
    }

    /// Brings the tree to the disk and gives it its name. Where another maker was faster, this one's is discarded. After
    /// [`Staged::sync`] nothing waits for the disk here: the caller does, for the directory that has the name now.
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
            sync_directory(&self.store.directory)?;
        }
        Ok(path)
    }
}

/// Whether a layer's digest is that of no bytes at all.
pub(crate) fn is_of_nothing(layer: &DiffId) -> bool {
    Hasher::new(layer.0.algorithm()).finish() == layer.0
}

/// A layer's directory as [`Writeback`] wants it.
fn reopen(staging: &Staging) -> Option<OwnedFd> {
    staging::open_directory(staging.path()).ok()
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| Error::io("sync directory", path, source))
}
