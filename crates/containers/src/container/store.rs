//! All containers of one root: made, found, listed, removed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use box_unpack::LayerStore;
use rustix::fs::{AtFlags, Mode, mkdir, unlinkat};
use rustix::io::Errno;

use super::live::Live;
use super::names;
use super::record::now;
use super::{Container, NewContainer, Record, spare};
use crate::Error;
use crate::container::state::{RunDir, State, Status};
use crate::files::DefaultMask;
use crate::files::{self, removal};
use crate::spec::ETC_FILES;
use crate::storage::{self, Storage};

/// Beside the containers: the lowest layer of each, see [`Container::lower`]. No container can have this name.
pub(super) const MOUNT_POINTS: &str = ".mount-points";

/// How often a made name may be taken before numbers are put behind.
const TRIES: usize = 8;

/// All containers of one root.
#[derive(Clone, Debug)]
pub struct Containers {
    dir: PathBuf,
    run: PathBuf,
    layers: LayerStore,
}

impl Containers {
    /// `dir` holds the containers, `run` the state of those that run, `layers` the trees of their images. None needs to exist.
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

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    /// Makes a container and locks it for a start. If anything fails, nothing stays.
    pub fn create(&self, mut new: NewContainer) -> Result<Container, Error> {
        self.make_mount_points()?;
        if new.storage.is_none() {
            new.storage = Some(storage::choose(&self.dir, new.layers.len())?);
        }
        let random = random()?;
        let (name, held) = match &new.name {
            Some(name) => (name.clone(), self.claim(name)?),
            None => self.claim_any(random)?,
        };
        let mut container = self.container(&name, new, random);
        container.held = Some(held);
        let made = container.make();
        if made.is_err() {
            // The first error is the one to tell.
            let _ = remove_bundle(&container.dir);
        }
        made.map(|()| container)
    }

    /// A container that is not on disk: for a plan that is only looked at.
    pub(crate) fn container(&self, name: &str, mut new: NewContainer, random: u64) -> Container {
        let id = format!("{random:016x}");
        if let Some(linux) = new.spec.linux_mut()
            && linux.cgroups_path().is_none()
        {
            let parent = new.cgroup_parent.as_deref().unwrap_or_default();
            let path = if parent.ends_with(".slice") && !parent.contains('/') {
                format!("{parent}:box:{name}-{id}")
            } else {
                format!("{}/box-{name}-{id}", parent.trim_end_matches('/'))
            };
            linux.set_cgroups_path(Some(path.into()));
        }
        let command = new
            .spec
            .process()
            .as_ref()
            .and_then(|process| process.args().clone())
            .unwrap_or_default();
        let record = Record {
            id,
            image: new.image,
            manifest: new.manifest,
            layers: new.layers.ids().to_vec(),
            storage: new.storage.unwrap_or_default(),
            command,
            created: now(),
            remove: new.remove,
            options: new.options,
            started: None,
            ended: None,
        };
        Container {
            name: name.to_owned(),
            dir: self.dir.join(name),
            all: self.clone(),
            record,
            spec: Some(new.spec),
            etc: Some(new.etc),
            layers: new.layers,
            held: None,
            written: false,
        }
    }

    /// The container of that name.
    pub fn get(&self, name: &str) -> Result<Container, Error> {
        names::check(name)?;
        self.finish_rename(name)?;
        self.find(name)
    }

    /// The same for those who know that it is not half renamed, or do not care.
    pub(super) fn find(&self, name: &str) -> Result<Container, Error> {
        names::check(name)?;
        let dir = self.dir.join(name);
        let missing = || Error::NoSuchContainer {
            name: name.to_owned(),
        };
        let record: Record = match files::read_json(&dir.join("instance.json"))? {
            Some(record) => record,
            // One that goes with its command, see Container::files().
            None => {
                files::read_json(&self.run.join(name).join("instance.json"))?.ok_or_else(missing)?
            }
        };
        let name = name.to_owned();
        Ok(Container {
            name,
            dir,
            all: self.clone(),
            layers: self.layers.stacked(&record.layers),
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
                // Being made or removed just now, or left by a killed process or a crash of the machine.
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

    /// Whether it is to be listed: all but those that were to go with a command whose box was killed. These go now.
    fn is_kept(&self, container: &Container) -> Result<bool, Error> {
        if !container.record.remove || RunDir::is_held(&self.run, &container.name)? {
            return Ok(true);
        }
        Ok(!self.collect(&container.name)?)
    }

    /// Removes a container; one that runs is killed first if `force` is given, else it is an error. Needs no space on the
    /// disk, and does not wait for ever.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        names::check(name)?;
        let dir = self.dir.join(name);
        if !dir.exists() {
            return Err(Error::NoSuchContainer {
                name: name.to_owned(),
            });
        }
        let mut held = self.lock_state(name)?;
        if held.is_none() && force {
            self.kill(name)?;
            held = self.lock_state(name)?;
        }
        let Some(held) = held else {
            return Err(match State::read(&self.run, name)? {
                Some(state) => Error::Running {
                    name: name.to_owned(),
                    pid: state.pid,
                },
                None => Error::Busy {
                    name: name.to_owned(),
                },
            });
        };
        // One that goes by itself may have gone meanwhile.
        held.bury()?;
        remove_bundle(&dir)?;
        held.remove()
    }

    fn kill(&self, name: &str) -> Result<(), Error> {
        match Live::find(&self.run, name)? {
            Some(live) => live.kill(),
            // It ended by itself, or is just being made or removed.
            None => Ok(()),
        }
    }

    fn claim_any(&self, random: u64) -> Result<(String, RunDir), Error> {
        for attempt in 0.. {
            let random = if attempt == 0 {
                random
            } else {
                self::random()?
            };
            let name = names::made(random, attempt >= TRIES);
            match self.claim(&name) {
                Ok(held) => return Ok((name, held)),
                Err(Error::NameTaken { .. } | Error::Busy { .. } | Error::Running { .. })
                    if attempt < 4 * TRIES => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop above has no end")
    }

    /// Locks a name that no container has. What a killed `create` left under it is taken away.
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
        held.bury()?;
        remove_bundle(&dir)?;
        Ok(held)
    }

    fn make_mount_points(&self) -> Result<(), Error> {
        let path = self.dir.join(MOUNT_POINTS);
        if rustix::fs::access(&path, rustix::fs::Access::EXISTS).is_ok() {
            return Ok(());
        }
        files::create_private_dir(&self.dir)?;
        let _mask = DefaultMask::set();
        let aside = self
            .dir
            .join(format!("{MOUNT_POINTS}.{}", rustix::process::getpid()));
        for directory in ["proc", "sys", "dev", "etc"] {
            let directory = aside.join(directory);
            std::fs::create_dir_all(&directory)
                .map_err(|error| Error::io("create directory", &directory, error))?;
        }
        for (_, file) in ETC_FILES {
            let file = aside.join(&file[1..]);
            std::fs::write(&file, "").map_err(|error| Error::io("write", &file, error))?;
        }
        match std::fs::rename(&aside, &path) {
            Ok(()) => Ok(()),
            // Another process was first.
            Err(_) if path.exists() => removal::remove_tree(&aside),
            Err(error) => Err(Error::io("rename to", &path, error)),
        }
    }
}

impl Container {
    /// Makes the bundle's directories and files.
    fn make(&mut self) -> Result<(), Error> {
        let _mask = DefaultMask::set();
        let overlay = self.record.storage == Storage::Overlay;
        let spare = overlay && self.record.remove && spare::take(&self.dir);
        let dir = self.dir.clone();
        let directory = |name: &str| {
            let path = dir.join(name);
            match mkdir(&path, Mode::from_raw_mode(0o755)) {
                // A spare has them, unless a crash of the machine took them.
                Err(Errno::EXIST) if spare => Ok(()),
                made => made.map_err(|errno| Error::io("create directory", &path, errno)),
            }
        };
        if !spare {
            // Only root of the host looks into it: images hold setuid files.
            mkdir(&self.dir, Mode::from_raw_mode(0o700))
                .map_err(|errno| Error::io("create directory", &self.dir, errno))?;
        }
        if overlay {
            directory("upper")?;
            directory("work")?;
            self.take_over_the_root()?;
        } else {
            self.copy_layers()?;
        }
        if overlay && self.mount_point() == self.dir.join("rootfs") {
            directory("rootfs")?;
        }
        if self.texts().is_none() {
            for (name, text) in self.etc.take().unwrap_or_default().files() {
                files::write_text(&self.dir.join(name), text.as_bytes())?;
            }
        }
        if self.record.remove {
            // What it needs of the cache has to be known before the start; its spec is written while the child sets up.
            self.save()
        } else {
            self.write_bundle()
        }
    }

    /// Gives the upper directory, which is what the container sees as `/`, the mode and owner that the image gives to it. A layer
    /// whose archive says nothing of its root has the usual ones there.
    fn take_over_the_root(&self) -> Result<(), Error> {
        let layers = self.layers.trees().rev();
        // A layer that is not there is the overlay's to tell.
        let said = layers
            .filter_map(|layer| rustix::fs::stat(layer).ok())
            .map(|stat| (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid))
            .find(|root| *root != (0o755, 0, 0));
        let Some((mode, user, group)) = said else {
            return Ok(());
        };
        let upper = self.dir.join("upper");
        let chown = std::os::unix::fs::chown(&upper, Some(user), Some(group));
        chown
            .and_then(|()| std::fs::set_permissions(&upper, Permissions::from_mode(mode)))
            .map_err(|error| Error::io("change the mode and owner of", &upper, error))
    }

    fn copy_layers(&mut self) -> Result<(), Error> {
        let target = self.dir.join("rootfs");
        self.lower().copy_to(&target).map_err(|source| Error::Copy {
            name: self.name.clone(),
            source: Box::new(source),
        })
    }

    fn status_of_unheld(&self) -> Result<Status, Error> {
        Ok(match &self.record.ended {
            Some(ended) => Status::Exited { exit: ended.status },
            None if self.record.started.is_some() => Status::Lost {
                reason: "nobody saw its end".to_owned(),
            },
            None => Status::Created,
        })
    }
}

/// Removes a bundle. Most have nothing but the files we made: those go by name, without reading directories.
pub(super) fn remove_bundle(dir: &Path) -> Result<(), Error> {
    const FILES: [&str; 6] = [
        "config.json",
        "instance.json",
        "resolv.conf",
        "hosts",
        "hostname",
        "work/work/incompat/volatile/dirty",
    ];
    const DIRECTORIES: [&str; 6] = [
        "work/work/incompat/volatile",
        "work/work/incompat",
        "work/work",
        "work",
        "rootfs",
        "upper",
    ];
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return removal::remove_tree(dir);
    };
    let entries = FILES.map(|name| (name, AtFlags::empty())).into_iter();
    for (name, kind) in entries.chain(DIRECTORIES.map(|name| (name, AtFlags::REMOVEDIR))) {
        // Whatever is in the way is for the thorough removal below.
        let _ = unlinkat(&open, name, kind);
    }
    match rustix::fs::rmdir(dir) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => removal::remove_tree(dir),
    }
}

fn random() -> Result<u64, Error> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::system("get a random number", errno))?;
    Ok(u64::from_ne_bytes(bytes))
}
