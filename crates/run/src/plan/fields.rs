//! The fields of a spec that a plan is made of.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxSeccomp, Process, Spec};

use super::ownership::without_ownership;
use super::sysctl::sysctls;
use super::unsupported::refuse;
use super::user::CommandUser;
use super::{Options, Plan, RootFilesystem};
use crate::Error;
use crate::devices::nodes::Nodes;
use crate::error::c_string;
use crate::hooks::Hooks;
use crate::mounts::{MountKind, MountStep, RestrictedPath};
use crate::namespaces::Namespaces;
use crate::namespaces::idmap::IdMap;
use crate::privileges::capabilities::{Capabilities, Set};
use crate::privileges::rlimits;
use crate::privileges::seccomp::{self, Filter};
use crate::sealed::Command;

impl Plan {
    /// Checks the spec. Control group and hooks are the caller's to add.
    pub(super) fn of_spec(
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
        let user = CommandUser::plan(process.user())?;
        let masked_paths = linux.masked_paths().clone().unwrap_or_default();
        let read_only_paths = linux.readonly_paths().clone().unwrap_or_default();
        let limits = process.rlimits().clone().unwrap_or_default();
        rlimits::check_once(&limits)?;
        Ok(Self {
            nodes: Nodes::plan(linux, &mounts)?,
            terminal: terminal(process, &mounts)?,
            masked: RestrictedPath::plan(&masked_paths, &mounts)?,
            masked_paths,
            read_only: RestrictedPath::plan(&read_only_paths, &mounts)?,
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
}

/// The step that mounts a file system of that type.
fn filesystem(mounts: &[MountStep], wanted: &[u8]) -> Option<usize> {
    mounts.iter().position(
        |step| matches!(&step.kind, MountKind::Filesystem { name, .. } if name.to_bytes() == wanted),
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
