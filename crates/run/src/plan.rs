//! Everything a start needs, checked and allocated before the first process exists. Making a plan changes nothing on the host;
//! [`Plan::open`] then opens the files it names.

mod bundle;
mod describe;
mod fields;
mod options;
mod ownership;
mod preserved;
mod root;
mod sysctl;
mod unsupported;
mod user;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Spec};

use crate::Error;
use crate::channel::{Message, Step};
use crate::devices::nodes::Nodes;
use crate::hooks::{Hooks, Point};
use crate::mounts::{MountStep, RestrictedPath};
use crate::namespaces::Namespaces;
use crate::namespaces::idmap::IdMap;
use crate::privileges::capabilities::Capabilities;
use crate::privileges::seccomp::Filter;
use crate::sealed::Command;
pub use bundle::Bundle;
pub use options::Options;
use preserved::check_preserved;
use root::Directory;
pub use root::{Failure, RootFilesystem, UserIds};
use sysctl::Sysctl;

/// A checked start.
#[derive(Debug)]
pub struct Plan {
    pub(crate) options: Options,
    pub(crate) namespaces: Namespaces,
    /// The ids of a user namespace.
    pub(crate) idmap: Option<IdMap>,
    pub(crate) hooks: Hooks,
    /// Mounts the root file system.
    pub(crate) root: Box<dyn RootFilesystem>,
    /// The root file system as a detached mount, if [`Plan::open`] made one.
    pub(crate) tree: Option<OwnedFd>,
    pub(crate) root_read_only: bool,
    pub(crate) mounts: Vec<MountStep>,
    pub(crate) nodes: Option<Nodes>,
    /// The index of the devpts mount that provides the terminal.
    pub(crate) terminal: Option<usize>,
    pub(crate) masked: Vec<RestrictedPath>,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) read_only: Vec<RestrictedPath>,
    pub(crate) read_only_paths: Vec<String>,
    pub(crate) sysctls: Vec<Sysctl>,
    /// The index of the proc mount, through which kernel parameters are set.
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
    /// The first process waits for the caller's order before it executes the command.
    pub(crate) gated: bool,
    /// Replaces the caller's standard input, output and error for the command.
    pub(crate) stdio: Option<[OwnedFd; 3]>,
}

impl Plan {
    /// How much memory the container may use, in bytes, if there is a limit.
    pub fn memory_limit(&self) -> Option<u64> {
        let limit = self.resources.memory().and_then(|memory| memory.limit())?;
        u64::try_from(limit).ok()
    }

    /// Checks the bundle's spec and allocates everything its start needs.
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
            // These hooks set the network up, so its namespace must exist before the first of them runs.
            plan.namespaces.clone |= libc::CLONE_NEWNET as u64;
        }
        Ok(plan)
    }

    /// Uses a root file system that the caller mounts instead of the directory that the spec names.
    #[must_use]
    pub fn on(mut self, root: Box<dyn RootFilesystem>) -> Self {
        self.root = root;
        self
    }

    /// Replaces the bind mount of a file of the bundle by a copy of its content in the container's own memory.
    pub fn keep_in_memory(&mut self, file: &str, content: &str) -> Result<(), Error> {
        let mut steps = self.mounts.iter_mut();
        steps.try_for_each(|step| step.keep_in_memory(file, content))
    }

    /// Gives the command these files as standard input, output and error instead of the caller's.
    pub fn with_stdio(&mut self, files: [OwnedFd; 3]) {
        self.stdio = Some(files);
    }

    /// Whether the command gets a terminal of its own.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// A plan for a process that joins a running container: it runs as the process of the spec, in the container's namespaces.
    pub(crate) fn joining(bundle: &Bundle) -> Result<Self, Error> {
        let nowhere = Directory::new(PathBuf::new())?;
        let options = Options::default();
        Self::of_spec(&bundle.spec, &bundle.directory, &options, Box::new(nowhere))
    }

    /// The host ids of the command's user and group.
    pub fn host_user(&self) -> (u32, u32) {
        self.idmap.as_ref().map_or((self.uid, self.gid), |map| {
            map.on_the_host(self.uid, self.gid)
        })
    }

    /// The root file system as a detached mount; `None` if the child has to mount it itself.
    pub(crate) fn mount_root(&self) -> Result<Option<OwnedFd>, Error> {
        self.root.detached().map_err(|error| match error {
            root::Failure::Errno(errno) => {
                self.refusal(Message::Failed(Step::Rootfs.failed(0)(errno)))
            }
            root::Failure::Error(error) => error,
        })
    }

    /// Opens every file of the host that the plan names, so that the child needs no path of the host.
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

fn cgroups_path(spec: &Spec) -> Option<PathBuf> {
    spec.linux().as_ref()?.cgroups_path().clone()
}

/// Whether the spec asks for a user namespace.
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
