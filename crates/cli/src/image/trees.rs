//! The layer trees for the garbage collector: which exist, and which of them containers need.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use box_cache::{BoxError, Cache, DiffId, Digest, Needs, Reclaim, disk_usage};
use box_containers::Containers;
use box_containers::state::RunDir;
use box_pull::{LOCK_FILE, Pins};
use box_unpack::LayerStore;

use crate::report::{Failure, warn};
use crate::settings::dirs::Dirs;

/// How long to wait for a container that is being created.
const CREATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The layer store and the containers beside a cache.
pub struct LayersInUse<'d> {
    dirs: &'d Dirs,
    store: LayerStore,
}

impl LayersInUse<'_> {
    /// Those in these directories.
    pub fn new(dirs: &Dirs) -> LayersInUse<'_> {
        LayersInUse {
            store: LayerStore::open(&dirs.layers),
            dirs,
        }
    }

    /// The names of all containers, including those that are being created.
    fn names(&self) -> Result<Vec<String>, BoxError> {
        let listing = match std::fs::read_dir(&self.dirs.containers) {
            Ok(listing) => listing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(box_cache::Error::io("list", &self.dirs.containers)(error).into());
            }
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(box_cache::Error::io("list", &self.dirs.containers))?;
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

    /// The manifests in lock files: the one in the working directory, and all that were ever used with this cache.
    fn locked(&self) -> Result<Vec<Digest>, BoxError> {
        let cache = Cache::open_existing(&self.dirs.cache);
        let mut manifests = Vec::new();
        for path in cache.lock_files()?.into_iter().chain([LOCK_FILE.into()]) {
            match Pins::load(&path) {
                Ok(Some(pins)) => manifests.extend(pins.iter().map(|pin| pin.manifest)),
                Ok(None) => {
                    if let Err(error) = cache.forget_lock_file(&path) {
                        tracing::debug!(%error, "the note of a missing lock file stays");
                    }
                }
                // It may be being edited. The images that it names are not kept, so warn.
                Err(error) => warn(Failure::from_error(&error).message()),
            }
        }
        Ok(manifests)
    }

    /// Adds what a container needs. A container with a directory but without a record is being created as long as its lock is held:
    /// waits for it.
    fn needs_of(
        &self,
        containers: &Containers,
        name: &str,
        needs: &mut Needs,
    ) -> Result<(), BoxError> {
        let begun = Instant::now();
        loop {
            match containers.get(name) {
                Ok(container) => {
                    needs
                        .layers
                        .extend(container.record().layers.iter().copied());
                    return Ok(());
                }
                Err(
                    box_containers::Error::NoSuchContainer { .. }
                    | box_containers::Error::BadName { .. },
                ) => {}
                Err(error) => return Err(error.into()),
            }
            if !RunDir::is_held(&self.dirs.run, name)? {
                return Ok(());
            }
            if begun.elapsed() > CREATION_TIMEOUT {
                return Err(format!(
                    "cannot see which layers container {name} needs: it is being created"
                )
                .into());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl box_cache::LayerTrees for LayersInUse<'_> {
    fn needs(&self) -> Result<Needs, BoxError> {
        let containers = self.dirs.containers();
        let mut needs = Needs::default();
        for name in self.names()? {
            self.needs_of(&containers, &name, &mut needs)?;
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
