//! Instances: containers on disk. Each is an OCI bundle with a private writable layer.

mod live;
mod rename;
mod resources;
mod spare;
mod store;
mod sweep;
mod view;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::overlay::{MOST_LAYERS, Overlay};
use crate::process::{Ended, now};
use crate::state::{RunDir, State, Status};
use crate::storage::{CopyLayers, Storage};
use crate::{Error, EtcFiles, Options, files, seccomp, spec};
pub use live::{Live, Waiter};
pub use store::Instances;
pub use view::View;

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
    /// What becomes of them. `None`: an overlay, or with a warning a copy where that cannot be had.
    pub storage: Option<Storage>,
    /// Makes the copy where there is to be one.
    pub copy: CopyLayers,
    /// From [`crate::spec::build`].
    pub spec: Spec,
    /// `--cgroup-parent`: the group above the container's own, a path or a slice of systemd (`NAME.slice`), where the
    /// spec has no `cgroupsPath`; the hierarchy's root if `None`.
    pub cgroup_parent: Option<String>,
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
    /// What became of them.
    #[serde(default)]
    pub storage: Storage,
    /// Program and arguments, so that a list of instances need not read every spec.
    #[serde(default)]
    pub command: Vec<String>,
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

/// One instance. Dropped while it is locked for a start, it is unlocked.
#[derive(Debug)]
pub struct Instance {
    name: String,
    dir: PathBuf,
    run: PathBuf,
    record: Record,
    /// Not read yet if `None`.
    spec: Option<Spec>,
    /// To be written by `create`, or for the start if they are kept in memory.
    etc: Option<EtcFiles>,
    /// For `create`, where the instance has a copy of its layers.
    copy: Option<CopyLayers>,
    held: Option<RunDir>,
    /// The files are complete; those of an instance that goes with its command are written while it starts.
    written: bool,
}

impl Instance {
    /// Its name: also its directory's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bundle: `config.json`, `rootfs/`, and box's own `instance.json`; for an overlay `upper/` and `work/`. One that goes
    /// with its command has no files there but its storage.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the state of it is while it runs.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.run.join(&self.name)
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
                let path = self.files().join("config.json");
                files::read_json(&path)?
                    .ok_or_else(|| Error::io("read", &path, rustix::io::Errno::NOENT))
            }
        }
    }

    /// What it is doing now.
    pub fn status(&self) -> Result<Status, Error> {
        if RunDir::is_held(&self.run, &self.name)? {
            return Ok(match State::read(&self.run, &self.name)? {
                Some(state) => self.status_of(&state)?,
                None => Status::Created,
            });
        }
        Ok(match (&self.record.ended, &self.record.started) {
            (Some(ended), _) => Status::Exited { exit: ended.status },
            (None, None) => Status::Created,
            (None, Some(started)) if boot_id()? == started.boot_id => Status::Lost {
                reason: "the box process that watched it was killed".to_owned(),
            },
            (None, Some(_)) => Status::Lost {
                reason: "the machine was restarted".to_owned(),
            },
        })
    }

    /// Locks it for a start.
    pub fn hold(&mut self) -> Result<(), Error> {
        if self.held.is_some() {
            return Ok(());
        }
        let held = self.lock()?;
        // It may have been run or removed since it was read.
        match files::read_json(&self.files().join("instance.json"))? {
            Some(record) => self.record = record,
            None => {
                held.remove()?;
                return Err(Error::NoSuchInstance {
                    name: self.name.clone(),
                });
            }
        }
        self.held = Some(held);
        Ok(())
    }

    /// The lock is held by a process that was forked from this one: here it is only closed.
    pub(crate) fn hand_over(mut self) {
        self.held.take();
    }

    /// All its layers, topmost last: below those of the image one with nothing but the places that are mounted on, so that
    /// making them does not leave traces in the upper directory. An image of as many layers as an overlay takes has to do without.
    pub(crate) fn lower(&self) -> Vec<PathBuf> {
        if self.record.layers.len() >= MOST_LAYERS {
            return self.record.layers.clone();
        }
        let base = self
            .dir
            .parent()
            .unwrap_or(&self.dir)
            .join(store::MOUNT_POINTS);
        [base]
            .into_iter()
            .chain(self.record.layers.iter().cloned())
            .collect()
    }

    /// The overlay of its layers and its upper directory.
    pub(crate) fn overlay(&self, volatile: bool) -> Result<Overlay, Error> {
        Overlay::new(
            &self.lower(),
            self.dir.join("upper"),
            self.dir.join("work"),
            volatile,
        )
    }

    /// Where `config.json` and `instance.json` are. What goes with its
    /// command is kept in memory, as making and removing a file on disk takes longer than all else that is done for it.
    pub(crate) fn files(&self) -> PathBuf {
        if self.record.remove {
            self.state_directory()
        } else {
            self.dir.clone()
        }
    }

    /// The files below /etc that are box's, where they are kept in the container's own memory: those of an instance that goes with its
    /// command. On disk making and removing them takes too long, and the run directory is not for a container to fill.
    pub(crate) fn texts(&self) -> Option<&EtcFiles> {
        self.etc
            .as_ref()
            .filter(|_| self.record.remove && self.spec.as_ref().is_some_and(spec::has_own_dev))
    }

    /// Where a start mounts the root file system, in the container's own mount namespace. An instance that goes with its
    /// command has no directory of its own for it: any will do that is there.
    pub(crate) fn mount_point(&self) -> PathBuf {
        let mapped = self
            .spec
            .as_ref()
            .is_some_and(crate::plan::has_user_namespace);
        if self.record.remove && !mapped && self.record.storage == Storage::Overlay {
            self.dir
                .parent()
                .unwrap_or(&self.dir)
                .join(store::MOUNT_POINTS)
        } else {
            self.dir.join("rootfs")
        }
    }

    /// Mounts its root file system on `rootfs/` for other programs, such as an OCI runtime given the bundle. A copy is
    /// there without that.
    pub fn mount(&self) -> Result<PathBuf, Error> {
        let held = self.lock()?;
        let target = self.dir.join("rootfs");
        if self.record.storage == Storage::Copy {
            held.remove()?;
            return Ok(target);
        }
        match rustix::fs::mkdir(&target, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("create directory", &target, errno)),
        }
        self.overlay(false)?.mount_here(&target)?;
        held.remove()?;
        Ok(target)
    }

    /// Undoes [`Instance::mount`].
    pub fn unmount(&self) -> Result<(), Error> {
        let target = self.dir.join("rootfs");
        if self.record.storage == Storage::Copy {
            return Ok(());
        }
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::NOFOLLOW)
            .map_err(|errno| Error::io("unmount", &target, errno))
    }

    fn lock(&self) -> Result<RunDir, Error> {
        if let Some(held) = RunDir::lock(&self.run, &self.name)? {
            held.bury()?;
            return Ok(held);
        }
        Err(match State::read(&self.run, &self.name)? {
            Some(state) => Error::Running {
                name: self.name.clone(),
                pid: state.pid,
            },
            None => Error::Busy {
                name: self.name.clone(),
            },
        })
    }

    /// Its control group is about to be made.
    pub(crate) fn note_group(&self, cgroup: &Path) -> Result<(), Error> {
        self.held
            .as_ref()
            .map_or(Ok(()), |held| held.note_group(cgroup))
    }

    /// Its first process was made: writes down what is known now. The process is busy with its set-up meanwhile.
    pub(crate) fn started(&mut self, pid: i32, cgroup: &Path) -> Result<(), Error> {
        let state = State {
            pid,
            start_time: start_time(pid)?,
            monitor: rustix::process::getpid().as_raw_nonzero().get(),
            running: true,
            started: now(),
            cgroup: Some(cgroup.to_owned()),
        };
        if let Some(held) = &self.held {
            held.write(&state)?;
        }
        if !self.record.remove {
            let _place = rename::lock(&self.dir)?;
            self.take_written_options();
            self.record.started = Some(Started {
                at: state.started,
                boot_id: boot_id()?,
            });
            self.record.ended = None;
            self.save()?;
        }
        self.write_bundle()
    }

    /// Does for the next start what can be done while this one waits, as long as there is `time`.
    pub(crate) fn tidy_up_for_the_next(&self, time: &dyn Fn() -> bool) {
        if self.record.remove {
            spare::clean_one(&self.dir, time);
        }
    }

    /// Its command ended: writes that down, or takes all of it away.
    pub(crate) fn ended(&mut self, ended: &Ended) -> Result<(), Error> {
        let _place = self.keep_place()?;
        live::tell_waiters(&self.state_directory(), ended);
        if self.record.remove {
            if !spare::put(&self.dir) {
                store::remove_bundle(&self.dir)?;
            }
        } else {
            self.take_written_options();
            self.record.ended = Some(ended.clone());
            self.save()?;
        }
        self.held.take().map_or(Ok(()), RunDir::remove)
    }

    /// An update may have changed them since this record was read.
    fn take_written_options(&mut self) {
        let path = self.files().join("instance.json");
        if let Ok(Some(written)) = files::read_json::<Record>(&path) {
            self.record.options = written.options;
        }
    }

    /// Replaces `instance.json`.
    pub(crate) fn save(&self) -> Result<(), Error> {
        files::replace_json(&self.files().join("instance.json"), &self.record)
    }

    /// Writes `config.json` and `instance.json` if they are not there yet.
    fn write_bundle(&mut self) -> Result<(), Error> {
        let path = self.files().join("config.json");
        let Some(spec) = self.spec.as_mut().filter(|_| !self.written) else {
            return Ok(());
        };
        complete(spec)?;
        files::write_new(&path, spec)?;
        if !self.record.remove {
            // With this it is listed: whoever reads it must find all of it.
            self.save()?;
        }
        self.written = true;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && let Err(error) = held.remove()
        {
            tracing::warn!(%error, "the state of an instance is left over");
        }
    }
}

/// Puts the default seccomp profile into a spec that only says its name, for other runtimes to read.
fn complete(spec: &mut Spec) -> Result<(), Error> {
    if !spec::has_default_seccomp(spec) {
        return Ok(());
    }
    let set = spec
        .process()
        .as_ref()
        .and_then(|process| process.capabilities().as_ref());
    let set = set
        .map(crate::capabilities::Capabilities::from_oci)
        .unwrap_or_default();
    let profile = seccomp::default_profile(set.bounding)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(profile));
    }
    Ok(())
}

/// Field 22 of /proc/PID/stat, proc_pid_stat(5): clock ticks after boot.
pub(crate) fn start_time(pid: i32) -> Result<u64, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let failed = |errno: rustix::io::Errno| Error::io("read", &path, errno);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(failed)?;
    let mut bytes = [0u8; 1024];
    let length = rustix::io::read(&file, &mut bytes[..]).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    // The second field is a name in brackets, which may hold anything.
    let time = text
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_ascii_whitespace().nth(19))
        .and_then(|time| time.parse().ok());
    time.ok_or_else(|| Error::Corrupt {
        path,
        reason: "it has no start time".to_owned(),
    })
}

fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(text.trim().to_owned())
}
