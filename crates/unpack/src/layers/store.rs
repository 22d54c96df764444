//! The layer store: one immutable tree per layer, named by the layer's diff_id.
//!
//! ```text
//! <layers>/<diff_id hex>/      a tree, complete and synced before it got this name
//! <layers>/.staging/<unique>/  unfinished trees, each locked by its maker; unlocked ones are swept
//! <layers>/.locks/<hex>        locked by the process that makes that layer
//! ```
//!
//! Only the owner can enter `<layers>` (mode 0700), so set-id files and device nodes in the trees are out of other users' reach.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use box_cache::{Algorithm, DiffId, Digest, Hasher};
use rustix::fs::{Mode, OFlags};

use super::{LayerWriter, Layers};
use crate::descriptors::reserve_descriptors;
use crate::error::Error;
use crate::limits::Limits;
use crate::staging::{self, Staging};
use crate::whiteout::is_opaque;

const STAGING: &str = ".staging";
const LOCKS: &str = ".locks";

/// The number of layers made at once.
const MAKERS: usize = 2;

/// Bytes read from a blob at once.
const READ: usize = 64 * 1024;

/// The directory of the layer trees.
#[derive(Debug, Clone)]
pub struct LayerStore {
    directory: PathBuf,
}

impl LayerStore {
    /// The store in a directory, which is created with the first layer.
    pub fn open(directory: impl Into<PathBuf>) -> LayerStore {
        LayerStore {
            directory: directory.into(),
        }
    }

    /// The tree of a layer, if it exists.
    pub fn get(&self, layer: &DiffId) -> Option<PathBuf> {
        let path = self.path(layer);
        path.is_dir().then_some(path)
    }

    /// All layers in the store.
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

    /// Starts a layer whose bytes are pushed. Its compression is detected, its diff_id is known at the end.
    pub fn writer(&self, limits: Limits) -> Result<LayerWriter, Error> {
        self.writer_of(None, limits)
    }

    /// Like [`Self::writer`]. If the layer is expected to have no content, not even the end of an archive, that is accepted. The caller
    /// compares the diff_id.
    pub fn writer_of(
        &self,
        expected: Option<&DiffId>,
        limits: Limits,
    ) -> Result<LayerWriter, Error> {
        let may_be_empty = expected.is_some_and(is_of_nothing);
        LayerWriter::start(self, limits, Algorithm::Sha256, may_be_empty)
    }

    /// Makes the layer from its blob, unless it exists. Waits if another process is making it. `open` is called only if the layer has
    /// to be made.
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
        let mut writer =
            LayerWriter::start(self, limits, layer.0.algorithm(), is_of_nothing(layer))?;
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
        if staged.diff_id() != layer {
            let (expected, actual) = (Box::new(*layer), Box::new(*staged.diff_id()));
            return Err(Error::DiffId { expected, actual });
        }
        staged.publish()
    }

    /// The layers of an image. `ids` are in the order of its config, the lowest first. Layers below one with an opaque root are left
    /// out, as the overlay does not look for that mark on the roots of its layers.
    ///
    /// A layer that occurs several times, as empty ones do, is kept once, as the overlay refuses the same tree twice. Its topmost
    /// position is kept, from which it shows or hides everything that the lower one does.
    ///
    /// The lowest layer is not looked at. If it is missing, [`Layers::check`] and every use of it will report that.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`] for a layer that was removed or never made.
    pub fn layers(&self, ids: &[DiffId]) -> Result<Layers, Error> {
        let mut layers = Layers {
            ids: Vec::with_capacity(ids.len()),
            trees: Vec::with_capacity(ids.len()),
        };
        for id in ids {
            let tree = self.path(id);
            // The lowest layer hides nothing, opaque or not.
            if !layers.is_empty() && self.is_opaque(id, &tree)? {
                layers.ids.clear();
                layers.trees.clear();
            }
            if let Some(lower) = layers.ids.iter().position(|lower| lower == id) {
                layers.ids.remove(lower);
                layers.trees.remove(lower);
            }
            layers.ids.push(*id);
            layers.trees.push(tree);
        }
        Ok(layers)
    }

    /// The layers with these ids, which an earlier [`Layers::ids`] returned. Does not access the disk.
    pub fn stacked(&self, ids: &[DiffId]) -> Layers {
        Layers {
            ids: ids.to_vec(),
            trees: ids.iter().map(|id| self.path(id)).collect(),
        }
    }

    /// A layer without files, for images without layers: overlays and copies need at least one.
    pub fn empty(&self) -> Result<Layers, Error> {
        // The end of an archive, without members before it.
        const NOTHING: [u8; 1024] = [0; 1024];
        let layer = DiffId(Digest::of(&NOTHING));
        self.unpack(&layer, || Ok(&NOTHING[..]), Limits::default())?;
        Ok(self.stacked(&[layer]))
    }

    /// Makes several layers, some of them at once, each like [`LayerStore::unpack`]. Stops at the first failure.
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
            // Each layer keeps two threads busy. Two layers fill each other's gaps.
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

    /// Removes a layer's tree. Returns false if there was none. The tree is out of the store even if removing its files fails.
    pub fn remove(&self, layer: &DiffId) -> Result<bool, Error> {
        match self.detach(layer)? {
            Some(detached) => detached.remove().map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes a layer's tree out of the store at once, to free its space later. `None` if there was none.
    pub fn detach(&self, layer: &DiffId) -> Result<Option<Detached>, Error> {
        let path = self.path(layer);
        if !path.is_dir() {
            return Ok(None);
        }
        let staging = self.staging()?;
        let taken = Staging::take(&path, &staging, "removed-")?;
        let lock = self.directory.join(LOCKS).join(layer.0.hex());
        match fs::remove_file(&lock) {
            // A process that waits for the lock makes the layer again, at worst twice.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", lock, error))
            }
            _ => Ok(taken.map(Detached)),
        }
    }

    /// The unfinished trees of killed processes, which [`LayerStore::sweep`] removes.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, Error> {
        staging::leftovers(&self.directory.join(STAGING))
    }

    /// Removes the unfinished trees of killed processes, and returns their number.
    pub fn sweep(&self) -> Result<usize, Error> {
        staging::sweep(&self.directory.join(STAGING), "")
    }

    pub(super) fn path(&self, layer: &DiffId) -> PathBuf {
        self.directory.join(layer.0.hex())
    }

    fn is_opaque(&self, id: &DiffId, tree: &Path) -> Result<bool, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(tree, flags, Mode::empty())
            .map_err(|errno| Error::layer("open layer", Some(id), tree, errno))?;
        is_opaque(&root).map_err(|errno| Error::io("read the attributes of", tree, errno))
    }

    /// Locks out other makers of the layer, in this process and in others.
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

    pub(super) fn staging(&self) -> Result<PathBuf, Error> {
        self.make_directory(STAGING)
    }

    pub(super) fn root(&self) -> &Path {
        &self.directory
    }

    fn make_directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| Error::io("create directory", &path, source))?;
        Ok(path)
    }
}

/// A tree that is no longer in the store. Removed when dropped.
#[derive(Debug)]
pub struct Detached(Staging);

impl Detached {
    /// Its path until it is removed.
    pub fn path(&self) -> PathBuf {
        self.0.path().join(staging::TAKEN)
    }

    /// Removes its files, and reports failures.
    pub fn remove(self) -> Result<(), Error> {
        self.0.remove()
    }
}

/// Whether a layer's digest is that of zero bytes.
pub(crate) fn is_of_nothing(layer: &DiffId) -> bool {
    Hasher::new(layer.0.algorithm()).finish() == layer.0
}
