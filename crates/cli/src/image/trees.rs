//! The layer trees as the collector sees them: which there are, and which of them containers need.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use box_cache::{BoxError, Cache, DiffId, Digest, Needs, Reclaim, disk_usage};
use box_containers::Instances;
use box_containers::state::RunDir;
use box_pull::{LOCK_FILE, Pins};
use box_unpack::LayerStore;

use crate::report::{Failure, warn};
use crate::settings::dirs::Dirs;

/// For how long a container may be in the making.
const PATIENCE: Duration = Duration::from_secs(10);

/// The layer store and the containers beside a cache.
pub struct LayersInUse<'d> {
    dirs: &'d Dirs,
    store: LayerStore,
}

impl LayersInUse<'_> {
    /// Those of these directories.
    pub fn new(dirs: &Dirs) -> LayersInUse<'_> {
        LayersInUse {
            store: LayerStore::open(&dirs.layers),
            dirs,
        }
    }

    /// The names of all containers, those in the making included.
    fn names(&self) -> Result<Vec<String>, BoxError> {
        let listing = match std::fs::read_dir(&self.dirs.instances) {
            Ok(listing) => listing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(box_cache::Error::io("list", &self.dirs.instances)(error).into());
            }
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(box_cache::Error::io("list", &self.dirs.instances))?;
            names.extend(
                entry
                    .file_name()
                    .into_string()
                    .ok()
                    .filter(|name| !name.starts_with('.')),
            );
        }
        Ok(names)
    }

    /// The manifests that lock files name: the one in the working directory, and all that were ever used with this cache.
    fn locked(&self) -> Result<Vec<Digest>, BoxError> {
        let cache = Cache::open_existing(&self.dirs.cache);
        let mut manifests = Vec::new();
        for path in cache.lock_files()?.into_iter().chain([LOCK_FILE.into()]) {
            match Pins::load(&path) {
                Ok(Some(pins)) => manifests.extend(pins.iter().map(|pin| pin.manifest)),
                Ok(None) => {
                    if let Err(error) = cache.forget_lock_file(&path) {
                        tracing::debug!(%error, "the note of a lock file that is gone stays");
                    }
                }
                // Somebody may be at work on it. Nothing of what it names is kept, and that is said.
                Err(error) => warn(Failure::from_error(&error).message()),
            }
        }
        Ok(manifests)
    }

    /// What a container needs. One whose directory is there and that has written nothing down yet is in the making, as
    /// long as somebody has its lock: it is waited for.
    fn needs_of(
        &self,
        instances: &Instances,
        name: &str,
        needs: &mut Needs,
    ) -> Result<(), BoxError> {
        let begun = Instant::now();
        loop {
            match instances.get(name) {
                Ok(instance) => {
                    needs
                        .layers
                        .extend(instance.record().layers.iter().copied());
                    return Ok(());
                }
                Err(
                    box_containers::Error::NoSuchInstance { .. }
                    | box_containers::Error::BadName { .. },
                ) => {}
                Err(error) => return Err(error.into()),
            }
            if !RunDir::is_held(&self.dirs.run, name)? {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("container {name} is being made and says not of what").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl box_cache::LayerTrees for LayersInUse<'_> {
    fn needs(&self) -> Result<Needs, BoxError> {
        let instances = self.dirs.containers();
        let mut needs = Needs::default();
        for name in self.names()? {
            self.needs_of(&instances, &name, &mut needs)?;
        }
        needs.manifests.extend(self.locked()?);
        Ok(needs)
    }

    fn list(&self) -> Result<Vec<DiffId>, BoxError> {
        Ok(self.store.list()?)
    }

    fn bytes(&self, layer: &DiffId) -> Result<u64, BoxError> {
        match self.store.get(layer) {
            Some(path) => Ok(disk_usage(&path)?),
            None => Ok(0),
        }
    }

    fn detach(&self, layer: &DiffId) -> Result<Option<Reclaim>, BoxError> {
        let detached = self.store.detach(layer)?;
        Ok(detached.map(|detached| {
            Box::new(move || {
                let bytes = disk_usage(&detached.path())?;
                detached.remove()?;
                Ok(bytes)
            }) as Reclaim
        }))
    }

    fn leftovers(&self) -> Result<u64, BoxError> {
        let mut bytes = 0;
        for path in self.store.leftovers()? {
            bytes += disk_usage(&path)?;
        }
        Ok(bytes)
    }

    fn sweep(&self) -> Result<u64, BoxError> {
        let bytes = self.leftovers()?;
        self.store.sweep()?;
        Ok(bytes)
    }
}
