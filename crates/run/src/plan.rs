//! All that a start needs, checked and allocated before the first process is made. Making a plan touches nothing;
//! [`Plan::open`] then opens what it names.

mod command;
mod describe;
mod identity;
mod ownership;
mod preserved;
mod sysctl;
mod unsupported;

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, LinuxSeccomp, Process, Spec};
use rustix::fs::CWD;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::capabilities::{Capabilities, Set};
use crate::channel::{Message, Step};
use crate::diagnosis::{ExecFailure, Finding, Text, examine};
use crate::hooks::{Hooks, Point};
use crate::idmap::IdMap;
use crate::mounts::{Hidden, Kind, MountStep, c_string};
use crate::namespaces::Namespaces;
use crate::nodes::Nodes;
use crate::overlay::Overlay;
use crate::seccomp::Filter;
use crate::storage::{self, Storage};
use crate::{Error, EtcFiles, Instance, Instances, NewInstance, rlimits, spec};
pub(crate) use command::Command;
use identity::Identity;
use ownership::without_ownership;
use preserved::check_preserved;
use sysctl::{Sysctl, sysctls};
use unsupported::refuse;

/// How an instance is run, beyond what a runtime spec can say. Kept in `instance.json` for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `--init`: a reaper as PID 1.
    pub init: bool,
    /// `--no-pivot`: for hosts whose root is the initramfs.
    pub no_pivot: bool,
    /// `--preserve-fds`: descriptors 3 to 2 + N reach the command.
    pub preserve_fds: u32,
    /// `--timeout`: TERM after this, and status 124.
    pub timeout: Option<Duration>,
    /// `--kill-after`: KILL this long after the TERM of `timeout`; 10 seconds if `None`.
    pub kill_after: Option<Duration>,
    /// Ask the control group for the peak of memory at the end; without it that of the largest process is told.
    pub measure: bool,
    /// `-i` of a detached container: standard input stays open for those who attach.
    pub interactive: bool,
    /// The pids limit of the spec is box's default: where it cannot be set it is dropped with a warning.
    pub pids_by_default: bool,
    /// What becomes of the output of a detached container.
    pub log: crate::logs::Settings,
}

/// A checked start.
#[derive(Debug)]
pub struct Plan {
    pub(crate) options: Options,
    pub(crate) namespaces: Namespaces,
    /// The ids of a user namespace.
    pub(crate) idmap: Option<IdMap>,
    pub(crate) hooks: Hooks,
    pub(crate) rootfs: Rootfs,
    pub(crate) root_read_only: bool,
    pub(crate) mounts: Vec<MountStep>,
    pub(crate) nodes: Option<Nodes>,
    /// The devpts mount that the terminal is taken from.
    pub(crate) terminal: Option<usize>,
    pub(crate) masked: Vec<Hidden>,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) read_only: Vec<Hidden>,
    pub(crate) read_only_paths: Vec<String>,
    pub(crate) sysctls: Vec<Sysctl>,
    /// The proc mount, through which kernel parameters are set.
    pub(crate) proc: Option<usize>,
    pub(crate) hostname: Option<CString>,
    pub(crate) domainname: Option<CString>,
    pub(crate) rlimits: Vec<(u32, u64, u64)>,
    pub(crate) rlimit_names: Vec<&'static str>,
    pub(crate) oom_score_adj: Option<CString>,
    pub(crate) umask: u32,
    pub(crate) personality: Option<u32>,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<Filter>,
    pub(crate) capabilities: Capabilities,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<rustix::process::Gid>,
    pub(crate) cwd: CString,
    pub(crate) command: Command,
    pub(crate) cgroup: PathBuf,
    pub(crate) resources: LinuxResources,
    /// The caller wants to say when the command is let go.
    pub(crate) gated: bool,
    /// What the command gets as 0, 1 and 2 in the place of the caller's.
    pub(crate) stdio: Option<[OwnedFd; 3]>,
}

/// Where the root file system comes from.
#[derive(Debug)]
pub(crate) enum Rootfs {
    /// An overlay, mounted on the bundle's `rootfs`.
    Overlay { overlay: Overlay, target: CString },
    /// The same with mapped ids, made by [`Plan::open`].
    Mapped {
        bundle: PathBuf,
        layers: Vec<PathBuf>,
        volatile: bool,
        tree: Option<OwnedFd>,
    },
    /// A copy of the layers: bound onto itself, in a user namespace shown with mapped ids.
    Copy {
        path: PathBuf,
        tree: Option<OwnedFd>,
        target: CString,
    },
    /// A directory that is there, bound onto itself.
    Directory {
        path: PathBuf,
        tree: Option<OwnedFd>,
        target: CString,
    },
}

impl Plan {
    /// How much memory the container may use, in bytes, if there is a limit.
    pub fn memory_limit(&self) -> Option<u64> {
        let limit = self.resources.memory().and_then(|memory| memory.limit())?;
        u64::try_from(limit).ok()
    }

    /// Checks the instance's spec and allocates what the child will need.
    pub fn new(instance: &Instance) -> Result<Self, Error> {
        let spec = instance.spec()?;
        let record = instance.record();
        let rootfs = if record.layers.is_empty() {
            let root = spec
                .root()
                .as_ref()
                .ok_or_else(|| Error::spec("root", "it is missing"))?;
            let path = instance.dir().join(root.path());
            let target = c_string(path.as_os_str().as_bytes())?;
            Rootfs::Directory {
                path,
                tree: None,
                target,
            }
        } else if record.storage == Storage::Copy {
            let path = instance.dir().join("rootfs");
            let target = c_string(path.as_os_str().as_bytes())?;
            Rootfs::Copy {
                path,
                tree: None,
                target,
            }
        } else if has_user_namespace(&spec) {
            Rootfs::Mapped {
                bundle: instance.dir().to_owned(),
                layers: instance.lower(),
                volatile: record.remove,
                tree: None,
            }
        } else {
            // Not synced when it goes, if the instance goes with it: that would write back all of the host's file system.
            Rootfs::Overlay {
                overlay: instance.overlay(record.remove)?,
                target: c_string(instance.mount_point().as_os_str().as_bytes())?,
            }
        };
        let cgroup = PathBuf::from(format!("/box-{}", record.id));
        let mut plan = Self::of_spec(
            &spec,
            instance.dir(),
            rootfs,
            cgroup,
            record.options.clone(),
        )?;
        for (name, text) in instance.texts().map(EtcFiles::files).into_iter().flatten() {
            for step in &mut plan.mounts {
                step.keep_in_memory(name, text)?;
            }
        }
        plan.hooks = Hooks::plan(&spec, instance.name(), instance.dir())?;
        if plan.hooks.any(Point::CreateRuntime) && plan.namespaces.network {
            // These hooks set the network up: it has to be there before the first of them.
            plan.namespaces.clone |= libc::CLONE_NEWNET as u64;
        }
        Ok(plan)
    }

    /// The plan of an instance that is not made: nothing is touched.
    pub fn preview(new: &NewInstance) -> Result<Self, Error> {
        let name = new.name.clone().unwrap_or_else(|| "NAME".to_owned());
        Self::new(&Instances::open("INSTANCES", "RUN").instance(&name, new.clone(), 0))
    }

    /// A plan for a process that joins the running instance: as its first one, but for what `adapt` changes.
    pub(crate) fn joining(
        instance: &Instance,
        adapt: impl FnOnce(&mut Process) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut spec = instance.spec()?;
        let process = spec.process_mut().as_mut();
        adapt(process.ok_or_else(|| Error::spec("process", "it is missing"))?)?;
        let rootfs = Rootfs::Directory {
            path: PathBuf::new(),
            tree: None,
            target: CString::default(),
        };
        Self::of_spec(
            &spec,
            instance.dir(),
            rootfs,
            PathBuf::new(),
            Options::default(),
        )
    }

    /// What the child said about why it could not go on.
    pub(crate) fn refusal(&self, message: Message) -> Error {
        match message {
            Message::Ready(_) | Message::There(_) => {
                Error::system("start the command", Errno::PROTO)
            }
            Message::Failed(failed) => self.failure(failed),
            Message::Hook(failure) => self.hooks.error(failure),
            Message::NotExecuted {
                index,
                errno,
                facts,
                head,
            } => {
                let mut text = Text::new();
                let errno = Errno::from_raw_os_error(errno);
                let finding = examine(&facts, &head, errno, &mut text);
                if finding == Finding::Missing {
                    return ExecFailure::NotFound {
                        command: self.command.name.clone(),
                    }
                    .into();
                }
                let path = self.command.candidates.get(usize::from(index));
                let path = path.map_or_else(
                    || self.command.name.clone(),
                    |path| path.to_string_lossy().into_owned(),
                );
                ExecFailure::new(path.into(), errno.raw_os_error(), finding, text.as_bytes()).into()
            }
        }
    }

    fn of_spec(
        spec: &Spec,
        bundle: &Path,
        rootfs: Rootfs,
        cgroup: PathBuf,
        options: Options,
    ) -> Result<Self, Error> {
        let missing = |field: &str| Error::spec(field, "it is missing");
        let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
        let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
        refuse(process, linux)?;
        let resources = linux.resources().clone().unwrap_or_default();
        let namespaces = Namespaces::plan(linux)?;
        let idmap = namespaces
            .owns(libc::CLONE_NEWUSER)
            .then(|| IdMap::plan(linux))
            .transpose()?;
        let mounts = spec.mounts().as_deref().unwrap_or(&[]);
        let borrowed = idmap
            .is_some()
            .then(|| without_ownership(mounts, &namespaces));
        let mounts = borrowed.as_deref().unwrap_or(mounts);
        let mounts = MountStep::plan(bundle, mounts, Some(&resources))?;
        let capabilities = capabilities(process);
        let user = Identity::plan(process.user())?;
        let masked_paths = linux.masked_paths().clone().unwrap_or_default();
        let read_only_paths = linux.readonly_paths().clone().unwrap_or_default();
        let limits = process.rlimits().clone().unwrap_or_default();
        rlimits::check_once(&limits)?;
        Ok(Self {
            nodes: Nodes::plan(linux, &mounts)?,
            terminal: terminal(process, &mounts)?,
            masked: Hidden::plan(&masked_paths, &mounts)?,
            masked_paths,
            read_only: Hidden::plan(&read_only_paths, &mounts)?,
            read_only_paths,
            sysctls: sysctls(spec, linux, &namespaces)?,
            proc: filesystem(&mounts, b"proc"),
            hostname: text(spec.hostname().as_deref())?,
            domainname: text(spec.domainname().as_deref())?,
            rlimits: limits
                .iter()
                .map(|limit| (rlimits::number(limit.typ()), limit.soft(), limit.hard()))
                .collect(),
            rlimit_names: limits
                .iter()
                .map(|limit| rlimits::name(limit.typ()))
                .collect(),
            oom_score_adj: text(
                process
                    .oom_score_adj()
                    .map(|score| score.to_string())
                    .as_deref(),
            )?,
            umask: user.umask,
            personality: personality(linux)?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp: filter(spec, linux.seccomp().as_ref(), capabilities.bounding)?,
            capabilities,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            cwd: working_directory(process)?,
            command: Command::plan(process)?,
            root_read_only: is_root_read_only(spec),
            cgroup: linux.cgroups_path().clone().unwrap_or(cgroup),
            resources,
            gated: false,
            stdio: None,
            options,
            namespaces,
            idmap,
            hooks: Hooks::default(),
            rootfs,
            mounts,
        })
    }

    /// The command's user and group as the host has them.
    pub(crate) fn host_user(&self) -> (u32, u32) {
        self.idmap.as_ref().map_or((self.uid, self.gid), |map| {
            map.on_the_host(self.uid, self.gid)
        })
    }

    /// Whether the parent mounts the root file system and sends it, with [`crate::channel::Order::Root`].
    pub(crate) fn sends_root(&self) -> bool {
        matches!(&self.rootfs, Rootfs::Overlay { overlay, .. } if overlay.can_be_detached())
    }

    /// The root file system, attached nowhere. `None`: the child is to mount it in its way.
    pub(crate) fn mount_root(&self) -> Result<Option<OwnedFd>, Error> {
        let Rootfs::Overlay { overlay, target } = &self.rootfs else {
            return Ok(None);
        };
        if overlay.needs_numbers() {
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            return overlay.mount_aside(target).map(Some);
        }
        overlay
            .detached()
            .map_err(|errno| self.refusal(Message::Failed(Step::Rootfs.failed(0)(errno))))
    }

    /// Opens what the plan names on the host, so that the child needs no path of it.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        let userns = self.idmap.as_ref().map(IdMap::namespace).transpose()?;
        let userns = userns.as_ref().map(AsFd::as_fd);
        match &mut self.rootfs {
            Rootfs::Overlay { .. } => {}
            Rootfs::Mapped {
                bundle,
                layers,
                volatile,
                tree,
            } => {
                let missing =
                    || Error::spec("linux.namespaces", "a mapped root needs a user namespace");
                let (idmap, userns) = self.idmap.as_ref().zip(userns).ok_or_else(missing)?;
                *tree = Some(idmap.overlay(bundle, layers, *volatile, userns)?);
            }
            Rootfs::Copy { path, tree, .. } => *tree = Some(storage::open_copy(path, userns)?),
            Rootfs::Directory { path, tree, .. } => {
                use rustix::mount::OpenTreeFlags as Flags;
                let flags = Flags::OPEN_TREE_CLONE | Flags::OPEN_TREE_CLOEXEC | Flags::AT_RECURSIVE;
                let opened = rustix::mount::open_tree(CWD, path.as_path(), flags);
                *tree = Some(
                    opened.map_err(|errno| Error::io("open the root file system", path, errno))?,
                );
            }
        }
        self.namespaces.open()?;
        check_preserved(self.options.preserve_fds)?;
        self.mounts
            .iter_mut()
            .try_for_each(|step| step.open(userns))
    }
}

/// The step that mounts a file system of that type.
fn filesystem(mounts: &[MountStep], wanted: &[u8]) -> Option<usize> {
    mounts.iter().position(
        |step| matches!(&step.kind, Kind::Filesystem { name, .. } if name.to_bytes() == wanted),
    )
}

/// The step after which the terminal can be made, if there is to be one.
fn terminal(process: &Process, mounts: &[MountStep]) -> Result<Option<usize>, Error> {
    if !process.terminal().unwrap_or(false) {
        return Ok(None);
    }
    let devpts = filesystem(mounts, b"devpts");
    devpts
        .ok_or_else(|| Error::spec("process.terminal", "a terminal needs a devpts mount"))
        .map(Some)
}

fn capabilities(process: &Process) -> Capabilities {
    let capabilities = process.capabilities().as_ref();
    capabilities.map(Capabilities::from_oci).unwrap_or_default()
}

fn is_root_read_only(spec: &Spec) -> bool {
    let root = spec.root().as_ref();
    root.and_then(|root| root.readonly()).unwrap_or(false)
}

fn text(value: Option<&str>) -> Result<Option<CString>, Error> {
    value.map(|value| c_string(value.as_bytes())).transpose()
}

fn working_directory(process: &Process) -> Result<CString, Error> {
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        let reason = format!("{} is not an absolute path", cwd.display());
        return Err(Error::spec("process.cwd", reason));
    }
    c_string(cwd.as_os_str().as_bytes())
}

pub(crate) fn has_user_namespace(spec: &Spec) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    namespaces
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

fn filter(
    spec: &Spec,
    profile: Option<&LinuxSeccomp>,
    bounding: Set,
) -> Result<Option<Filter>, Error> {
    if spec::has_default_seccomp(spec) {
        return Filter::default_for(bounding).map(Some);
    }
    profile.map(Filter::compile).transpose()
}

fn personality(linux: &Linux) -> Result<Option<u32>, Error> {
    use oci_spec::runtime::LinuxPersonalityDomain::{PerLinux, PerLinux32};
    let Some(asked) = linux.personality() else {
        return Ok(None);
    };
    if asked
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(Error::spec(
            "linux.personality.flags",
            "flags are not supported",
        ));
    }
    Ok(Some(match asked.domain() {
        PerLinux => 0,
        PerLinux32 => 8,
    }))
}
