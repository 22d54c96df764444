//! All containers of one root: found, listed, their names claimed.

use std::path::{Path, PathBuf};

use box_cache::DiffId;
use box_unpack::{LayerStore, Layers};

use super::bundle::remove_bundle;
use super::state::{RunDir, Status};
use super::{Container, Record, names};
use crate::{Error, files};

/// All containers of one root.
#[derive(Clone, Debug)]
pub struct Containers {
    dir: PathBuf,
    run: PathBuf,
    layers: LayerStore,
}

impl Containers {
    /// `dir` holds the containers, `run` the state of running ones, `layers` the unpacked layers. None of them needs to exist.
    pub fn open(
        dir: impl Into<PathBuf>,
        run: impl Into<PathBuf>,
        layers: impl Into<PathBuf>,
    ) -> Self {
        Self {
            dir: dir.into(),
            run: run.into(),
            layers: LayerStore::open(layers),
        }
    }

    /// The layers of a record.
    pub(super) fn stacked(&self, layers: &[DiffId]) -> Layers {
        self.layers.stacked(layers)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    /// The container with that name.
    pub fn get(&self, name: &str) -> Result<Container, Error> {
        names::check(name)?;
        self.finish_rename(name)?;
        self.find(name)
    }

    /// The same, without completing an interrupted rename.
    pub(super) fn find(&self, name: &str) -> Result<Container, Error> {
        names::check(name)?;
        let dir = self.dir.join(name);
        let missing = || Error::NoSuchContainer {
            name: name.to_owned(),
        };
        let record: Record = match files::read_json(&dir.join("instance.json"))? {
            Some(record) => record,
            // With --rm, see Container::files().
            None => {
                files::read_json(&self.run.join(name).join("instance.json"))?.ok_or_else(missing)?
            }
        };
        let name = name.to_owned();
        Ok(Container {
            name,
            dir,
            all: self.clone(),
            layers: self.stacked(&record.layers),
            record,
            spec: None,
            etc: None,
            held: None,
            written: true,
        })
    }

    /// All containers, by name.
    pub fn list(&self) -> Result<Vec<Container>, Error> {
        let failed = |error| Error::io("read directory", &self.dir, error);
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(failed(error)),
        };
        let mut found = vec![];
        for entry in entries {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else {
                continue;
            };
            match self.get(&name) {
                Ok(container) if self.is_kept(&container)? => found.push(container),
                Ok(_) | Err(Error::BadName { .. }) => {}
                // It is being created or removed, or was left behind by a killed process or a crash of the machine.
                Err(Error::NoSuchContainer { .. }) => {
                    if !RunDir::is_held(&self.run, &name)? {
                        self.collect(&name)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Whether a container is listed. A container with `--rm` whose supervisor was killed is not: it is removed here.
    fn is_kept(&self, container: &Container) -> Result<bool, Error> {
        if !container.record.remove || RunDir::is_held(&self.run, &container.name)? {
            return Ok(true);
        }
        Ok(!self.collect(&container.name)?)
    }

    /// Locks a name that no container has, and removes what a killed `create` left under it.
    pub(super) fn claim(&self, name: &str) -> Result<RunDir, Error> {
        names::check(name)?;
        let taken = |status: String, image: String| Error::NameTaken {
            name: name.to_owned(),
            image,
            status,
        };
        let dir = self.dir.join(name);
        let Some(held) = RunDir::lock(&self.run, name)? else {
            if !dir.exists() && self.finish_rename_of(name)? {
                return self.claim(name);
            }
            let owner = self.find(name);
            let image = owner.map_or_else(
                |_| "an image".to_owned(),
                |owner| owner.record.image.clone(),
            );
            return Err(taken("running".to_owned(), image));
        };
        let owner = match self.find(name) {
            Ok(owner) => Some(owner),
            Err(Error::NoSuchContainer { .. }) => None,
            Err(error) => return Err(error),
        };
        if !dir.exists() {
            return Ok(held);
        }
        if self.is_half_renamed(name)? {
            drop(held);
            self.finish_rename(name)?;
            return self.claim(name);
        }
        if let Some(owner) = owner.filter(|owner| !owner.record.remove) {
            let status = owner.status_of_unheld()?.to_string();
            held.remove()?;
            return Err(taken(status, owner.record.image.clone()));
        }
        held.clean_up()?;
        remove_bundle(&dir)?;
        Ok(held)
    }
}

impl Container {
    fn status_of_unheld(&self) -> Result<Status, Error> {
        Ok(match &self.record.ended {
            Some(ended) => Status::Exited { exit: ended.status },
            None if self.record.started.is_some() => Status::Lost {
                reason: "its end was not recorded".to_owned(),
            },
            None => Status::Created,
        })
    }
}
