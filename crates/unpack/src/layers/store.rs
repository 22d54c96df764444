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
        LayerWriter::start(self, limits, Algorithm::Sha256, false)
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

    /// The layers of an image, in the order of its config, the lowest first. None below one whose root hides everything before it,
    /// as the overlay does not look for that mark on the layers' own roots.
    ///
    /// A layer that comes several times, as empty ones do, is there once, as the overlay refuses a tree that it has already. It is
    /// at its topmost place: what the lower one shows or hides, that one shows or hides before it.
    ///
    /// Only the roots above the lowest one are read, so a missing lowest layer is found by [`Layers::check`] and by those that open it.
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
            // The lowest hides nothing, whatever it is marked with.
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

    /// The layers whose [`Layers::ids`] were written down. They are stacked as they come, without a look at the disk.
    pub fn stacked(&self, ids: &[DiffId]) -> Layers {
        Layers {
            ids: ids.to_vec(),
            trees: ids.iter().map(|id| self.path(id)).collect(),
        }
    }

    /// One layer without files: what an image that has no layers stands on, as an overlay and a copy need one.
    pub fn empty(&self) -> Result<Layers, Error> {
        // The end of an archive, and nothing before it.
        const NOTHING: [u8; 1024] = [0; 1024];
        let layer = DiffId(Digest::of(&NOTHING));
        self.unpack(&layer, || Ok(&NOTHING[..]), Limits::default())?;
        Ok(self.stacked(&[layer]))
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
        let staging = self.staging()?;
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

    pub(super) fn path(&self, layer: &DiffId) -> PathBuf {
        self.directory.join(layer.0.hex())
    }

    fn is_opaque(&self, id: &DiffId, tree: &Path) -> Result<bool, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(tree, flags, Mode::empty())
            .map_err(|errno| Error::layer("open layer", Some(id), tree, errno))?;
        is_opaque(&root).map_err(|errno| Error::io("read the attributes of", tree, errno))
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

/// Whether a layer's digest is that of no bytes at all.
pub(crate) fn is_of_nothing(layer: &DiffId) -> bool {
    Hasher::new(layer.0.algorithm()).finish() == layer.0
}
