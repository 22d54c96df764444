//! New containers: their name, their record and their files.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;

use super::bundle::remove_bundle;
use super::record::now;
use super::state::RunDir;
use super::{Container, Containers, NewContainer, Record, names, spare};
use crate::Error;
use crate::files::{self, DefaultMask, removal};
use crate::spec::ETC_FILES;
use crate::storage::{self, Storage};

/// The lowest layer of each container, see [`Container::lower`]. Not a valid name of a container.
pub(super) const MOUNT_POINTS: &str = ".mount-points";

/// Number of generated names to try before a number is appended.
const TRIES: usize = 8;

impl Containers {
    /// Creates a container and locks it for a start. On failure nothing is left behind.
    pub fn create(&self, mut new: NewContainer) -> Result<Container, Error> {
        self.make_mount_points()?;
        if new.storage.is_none() {
            new.storage = Some(storage::choose(self.dir(), new.layers.len())?);
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
            // The first error is the one to report.
            let _ = remove_bundle(&container.dir);
        }
        made.map(|()| container)
    }

    /// A container that is not on disk.
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
            dir: self.dir().join(name),
            all: self.clone(),
            record,
            spec: Some(new.spec),
            etc: Some(new.etc),
            layers: new.layers,
            held: None,
            written: false,
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

    fn make_mount_points(&self) -> Result<(), Error> {
        let path = self.dir().join(MOUNT_POINTS);
        if rustix::fs::access(&path, rustix::fs::Access::EXISTS).is_ok() {
            return Ok(());
        }
        files::create_private_dir(self.dir())?;
        let _mask = DefaultMask::set();
        let aside = self
            .dir()
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
            // Another process was faster.
            Err(_) if path.exists() => removal::remove_tree(&aside),
            Err(error) => Err(Error::io("rename to", &path, error)),
        }
    }
}

impl Container {
    /// Creates the bundle's directories and files.
    fn make(&mut self) -> Result<(), Error> {
        let _mask = DefaultMask::set();
        let overlay = self.record.storage == Storage::Overlay;
        let spare = overlay && self.record.remove && spare::take(&self.dir);
        let dir = self.dir.clone();
        let directory = |name: &str| {
            let path = dir.join(name);
            match mkdir(&path, Mode::from_raw_mode(0o755)) {
                // A spare directory contains them, unless they were lost in a crash of the machine.
                Err(Errno::EXIST) if spare => Ok(()),
                made => made.map_err(|errno| Error::io("create directory", &path, errno)),
            }
        };
        if !spare {
            // Only the host's root may enter it, as images contain setuid files.
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
            // The record tells the garbage collector what is in use, so it is on disk before the start. The spec is written while the
            // child sets itself up.
            self.save()
        } else {
            self.write_bundle()
        }
    }

    /// Gives the upper directory, which the container sees as `/`, the mode and owner that `/` has in the image. A layer whose archive has
    /// no entry for it has the default ones.
    fn take_over_the_root(&self) -> Result<(), Error> {
        let layers = self.layers.trees().rev();
        // The overlay reports a missing layer.
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
        self.lower()
            .copy_to(&target)
            .map_err(|source| Error::CopyLayers {
                name: self.name.clone(),
                source: Box::new(source),
            })
    }
}

fn random() -> Result<u64, Error> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::system("get a random number", errno))?;
    Ok(u64::from_ne_bytes(bytes))
}
