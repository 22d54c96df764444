//! All that a start needs, checked and allocated before the first process is made. Making a plan touches nothing;
//! [`Plan::open`] then opens what it names.

mod bundle;
mod describe;
mod identity;
mod options;
mod ownership;
mod preserved;
mod root;
mod sysctl;
mod unsupported;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, LinuxSeccomp, Process, Spec};
use rustix::io::Errno;

use crate::Error;
use crate::channel::{Message, Step};
use crate::devices::nodes::Nodes;
use crate::error::c_string;
use crate::error::diagnosis::{ExecFailure, Finding, Text, examine};
use crate::hooks::{Hooks, Point};
use crate::mounts::{Hidden, Kind, MountStep};
use crate::namespaces::Namespaces;
use crate::namespaces::idmap::IdMap;
use crate::privileges::capabilities::{Capabilities, Set};
use crate::privileges::rlimits;
use crate::privileges::seccomp::{self, Filter};
use crate::sealed::Command;
pub use bundle::Bundle;
use identity::Identity;
pub use options::Options;
use ownership::without_ownership;
use preserved::check_preserved;
use root::Directory;
pub use root::{Failure, RootFilesystem, UserIds};
use sysctl::{Sysctl, sysctls};
use unsupported::refuse;

/// A checked start.
#[derive(Debug)]
pub struct Plan {
    pub(crate) options: Options,
    pub(crate) namespaces: Namespaces,
    /// The ids of a user namespace.
    pub(crate) idmap: Option<IdMap>,
    pub(crate) hooks: Hooks,
    /// Who mounts the root file system.
    pub(crate) root: Box<dyn RootFilesystem>,
    /// The root file system as [`Plan::open`] made it, attached nowhere, if it did.
    pub(crate) tree: Option<OwnedFd>,
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

impl Plan {
    /// How much memory the container may use, in bytes, if there is a limit.
    pub fn memory_limit(&self) -> Option<u64> {
        let limit = self.resources.memory().and_then(|memory| memory.limit())?;
        u64::try_from(limit).ok()
    }

    /// Checks the bundle's spec and allocates what its start will need.
    pub fn new(bundle: &Bundle, options: &Options) -> Result<Self, Error> {
        let spec = &bundle.spec;
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| Error::spec("root", "it is missing"))?;
        let root = Directory::new(bundle.directory.join(root.path()))?;
        let mut plan = Self::of_spec(spec, &bundle.directory, options, Box::new(root))?;
        let default = || PathBuf::from("/").join(&bundle.id);
        plan.cgroup = cgroups_path(spec).unwrap_or_else(default);
        plan.hooks = Hooks::plan(spec, &bundle.id, &bundle.directory)?;
        if plan.hooks.any(Point::CreateRuntime) && plan.namespaces.network {
            // These hooks set the network up: it has to be there before the first of them.
            plan.namespaces.clone |= libc::CLONE_NEWNET as u64;
        }
        Ok(plan)
    }

    /// The same start on a root file system that the caller mounts, not the directory that the spec names.
    #[must_use]
    pub fn on(mut self, root: Box<dyn RootFilesystem>) -> Self {
        self.root = root;
        self
    }

    /// Keeps the content of a file of the bundle in the container's own memory, where the spec binds that file into the container.
    pub fn keep_in_memory(&mut self, file: &str, content: &str) -> Result<(), Error> {
        let mut steps = self.mounts.iter_mut();
        steps.try_for_each(|step| step.keep_in_memory(file, content))
    }

    /// Gives the command these files as 0, 1 and 2 instead of the caller's.
    pub fn with_stdio(&mut self, files: [OwnedFd; 3]) {
        self.stdio = Some(files);
    }

    /// Whether the command gets a terminal of its own.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// A plan for a process that joins a running container: as the process of the spec, in the namespaces that are there.
    pub(crate) fn joining(bundle: &Bundle) -> Result<Self, Error> {
        let nowhere = Directory::new(PathBuf::new())?;
        let options = Options::default();
        Self::of_spec(&bundle.spec, &bundle.directory, &options, Box::new(nowhere))
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
        options: &Options,
        root: Box<dyn RootFilesystem>,
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
            cgroup: PathBuf::new(),
            resources,
            gated: false,
            stdio: None,
            options: options.clone(),
            namespaces,
            idmap,
            hooks: Hooks::default(),
            root,
            tree: None,
            mounts,
        })
    }

    /// The command's user and group as the host has them.
    pub fn host_user(&self) -> (u32, u32) {
        self.idmap.as_ref().map_or((self.uid, self.gid), |map| {
            map.on_the_host(self.uid, self.gid)
        })
    }

    /// The root file system, attached nowhere. `None`: the child is to mount it in its way.
    pub(crate) fn mount_root(&self) -> Result<Option<OwnedFd>, Error> {
        self.root.detached().map_err(|error| match error {
            root::Failure::Errno(errno) => {
                self.refusal(Message::Failed(Step::Rootfs.failed(0)(errno)))
            }
            root::Failure::Error(error) => error,
        })
    }

    /// Opens what the plan names on the host, so that the child needs no path of it.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        let userns = self.idmap.as_ref().map(IdMap::namespace).transpose()?;
        let userns = userns.as_ref().map(AsFd::as_fd);
        let ids = self.idmap.as_ref().zip(userns);
        let ids = ids.map(|(map, namespace)| UserIds { map, namespace });
        self.tree = self.root.open(ids)?;
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

fn cgroups_path(spec: &Spec) -> Option<PathBuf> {
    spec.linux().as_ref()?.cgroups_path().clone()
}

/// Whether the container gets a user namespace.
pub fn has_user_namespace(spec: &Spec) -> bool {
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
    if seccomp::is_default(spec) {
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
