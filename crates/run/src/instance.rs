//! Instances: containers on disk. Each is an OCI bundle with a private writable layer.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::process::Ended;
use crate::state::{RunDir, State, Status};
use crate::{Error, EtcFiles, Options, files, names};

/// All instances of one root.
#[derive(Clone, Debug)]
pub struct Instances {
    dir: PathBuf,
    run: PathBuf,
}

/// What [`Instances::create`] needs.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// `--name`; two plain words if `None`.
    pub name: Option<String>,
    /// The reference of the image, for people.
    pub image: String,
    /// The digest of the image's manifest, so that clean-up knows what is in use.
    pub manifest: Option<String>,
    /// Unpacked layers, topmost last. They are never written to.
    pub layers: Vec<PathBuf>,
    /// From [`crate::spec::build`].
    pub spec: Spec,
    /// Files mounted over the image's own.
    pub etc: EtcFiles,
    /// `--rm`: the instance goes away when its command ends.
    pub remove: bool,
    /// How it is run each time.
    pub options: Options,
}

/// The content of `instance.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// 16 hexadecimal digits, never used again; the control group is named after it.
    pub id: String,
    /// The reference of the image.
    pub image: String,
    /// The digest of the image's manifest.
    pub manifest: Option<String>,
    /// Unpacked layers, topmost last.
    pub layers: Vec<PathBuf>,
    /// Seconds since the epoch.
    pub created: u64,
    /// `--rm`.
    pub remove: bool,
    /// How it is run each time.
    pub options: Options,
    /// The last start.
    pub started: Option<Started>,
    /// How the last run ended; `None` while it runs, or if nobody saw it.
    pub ended: Option<Ended>,
}

/// When an instance was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Seconds since the epoch.
    pub at: u64,
    /// /proc/sys/kernel/random/boot_id of then.
    pub boot_id: String,
}

/// One instance.
#[derive(Debug)]
pub struct Instance {
    name: String,
    dir: PathBuf,
    run: PathBuf,
    record: Record,
    spec: Option<Spec>,
    held: Option<RunDir>,
}

impl Instances {
    /// `dir` holds the instances, `run` the state of those that run. Neither needs to exist.
    pub fn open(dir: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            run: run.into(),
        }
    }

    /// Makes an instance and locks it for a start. If anything fails, nothing stays.
    pub fn create(&self, new: NewInstance) -> Result<Instance, Error> {
        let (name, held) = self.claim(new.name.as_deref())?;
        let dir = self.dir.join(&name);
        let record = Record {
            id: String::new(),
            image: new.image,
            manifest: new.manifest,
            layers: new.layers,
            created: 0,
            remove: new.remove,
            options: new.options,
            started: None,
            ended: None,
        };
        files::create_private_dir(&dir)?;
        files::replace_json(&dir.join("instance.json"), &record, files::Durability::None)?;
        files::replace_json(&dir.join("config.json"), &new.spec, files::Durability::None)?;
        Ok(Instance {
            name,
            dir,
            run: self.run.clone(),
            record,
            spec: Some(new.spec),
            held: Some(held),
        })
    }

    /// The instance of that name.
    pub fn get(&self, name: &str) -> Result<Instance, Error> {
        names::check(name)?;
        let dir = self.dir.join(name);
        let missing = || Error::NoSuchInstance {
            name: name.to_owned(),
        };
        let record = files::read_json(&dir.join("instance.json"))?.ok_or_else(missing)?;
        Ok(Instance {
            name: name.to_owned(),
            dir,
            run: self.run.clone(),
            record,
            spec: None,
            held: None,
        })
    }

    /// All instances, by name.
    pub fn list(&self) -> Result<Vec<Instance>, Error> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(Error::io("read directory", &self.dir, error)),
        };
        let mut found = vec![];
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("read directory", &self.dir, error))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match self.get(&name) {
                Ok(instance) => found.push(instance),
                // Being made or removed just now.
                Err(Error::NoSuchInstance { .. } | Error::BadName { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Removes an instance; one that runs is killed first if `force` is given, else it is an error.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let instance = self.get(name)?;
        if let Status::Running { pid } | Status::Paused { pid } = instance.status()?
            && !force
        {
            return Err(Error::Running {
                name: name.to_owned(),
                pid,
            });
        }
        files::remove_tree(instance.dir())
    }

    fn claim(&self, name: Option<&str>) -> Result<(String, RunDir), Error> {
        let name = name.unwrap_or("amber-acorn").to_owned();
        names::check(&name)?;
        let held =
            RunDir::lock(&self.run, &name)?.ok_or_else(|| Error::Busy { name: name.clone() })?;
        Ok((name, held))
    }
}

impl Instance {
    /// Its name: also its directory's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bundle: `config.json`, `rootfs/`, and box's own `instance.json`, `upper/`, `work/`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is written down about it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its runtime spec, from `config.json`.
    pub fn spec(&self) -> Result<Spec, Error> {
        match &self.spec {
            Some(spec) => Ok(spec.clone()),
            None => {
                let path = self.dir.join("config.json");
                files::read_json(&path)?
                    .ok_or_else(|| Error::io("read", &path, rustix::io::Errno::NOENT))
            }
        }
    }

    /// What it is doing now.
    pub fn status(&self) -> Result<Status, Error> {
        if let Some(state) = State::read(&self.run, &self.name)?
            && RunDir::is_held(&self.run, &self.name)?
        {
            return Ok(Status::Running { pid: state.pid });
        }
        Ok(match &self.record.ended {
            Some(ended) => Status::Exited { exit: ended.status },
            None => Status::Created,
        })
    }

    /// Locks it for a start.
    pub fn hold(&mut self) -> Result<(), Error> {
        if self.held.is_none() {
            let held = RunDir::lock(&self.run, &self.name)?.ok_or_else(|| Error::Busy {
                name: self.name.clone(),
            })?;
            self.held = Some(held);
        }
        Ok(())
    }
}
