//! The namespaces of a container: made by clone3(2) or later by unshare(2), or joined by path.

pub mod idmap;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::fs::{CWD, Mode, OFlags};

use crate::Error;

/// The namespaces of a plan.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` for clone3.
    pub clone: u64,
    /// The child makes a network namespace. That takes longest of all, and the parent has other work meanwhile.
    pub network: bool,
    /// The child makes a cgroup namespace once it is in its group, which becomes the namespace's root.
    pub cgroup: bool,
    /// The offsets of a time namespace, time_namespaces(7).
    pub time: Option<Vec<u8>>,
    /// Namespaces that are joined by path.
    pub joined: Vec<JoinedNamespace>,
}

/// An existing namespace.
#[derive(Debug)]
pub(crate) struct JoinedNamespace {
    pub kind: LinuxNamespaceType,
    pub path: PathBuf,
    pub file: Option<OwnedFd>,
}

impl Namespaces {
    /// Checks the list of the spec.
    pub fn plan(linux: &Linux) -> Result<Self, Error> {
        use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Time, User, Uts};
        let mut out = Self {
            clone: 0,
            network: false,
            cgroup: false,
            time: None,
            joined: vec![],
        };
        for namespace in linux.namespaces().as_deref().unwrap_or(&[]) {
            let kind = namespace.typ();
            if let Some(path) = namespace.path() {
                if matches!(kind, Mount | Pid | User | Time) {
                    let reason = format!("a {kind} namespace cannot be joined by path");
                    return Err(Error::spec("linux.namespaces", reason));
                }
                out.joined.push(JoinedNamespace {
                    kind,
                    path: path.clone(),
                    file: None,
                });
                continue;
            }
            match kind {
                Network => out.network = true,
                Cgroup => out.cgroup = true,
                Time => out.time = Some(time_offsets(linux)),
                Mount | Pid | User | Uts | Ipc => out.clone |= kind as u64,
            }
        }
        if out.clone & libc::CLONE_NEWNS as u64 == 0 {
            return Err(Error::spec(
                "linux.namespaces",
                "a container needs a mount namespace of its own",
            ));
        }
        Ok(out)
    }

    /// Opens the namespaces that are joined by path.
    pub fn open(&mut self) -> Result<(), Error> {
        for joined in &mut self.joined {
            let file = rustix::fs::openat(
                CWD,
                &joined.path,
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            joined.file =
                Some(file.map_err(|errno| Error::io("open namespace", &joined.path, errno))?);
        }
        Ok(())
    }

    /// Whether the container's namespace of this kind is not the host's.
    pub fn owns(&self, flag: i32) -> bool {
        let joined =
            |kind: LinuxNamespaceType| self.joined.iter().any(|joined| joined.kind == kind);
        match flag {
            libc::CLONE_NEWNET => self.network || joined(LinuxNamespaceType::Network),
            libc::CLONE_NEWCGROUP => self.cgroup,
            libc::CLONE_NEWIPC => self.clone & flag as u64 != 0 || joined(LinuxNamespaceType::Ipc),
            libc::CLONE_NEWUTS => self.clone & flag as u64 != 0 || joined(LinuxNamespaceType::Uts),
            _ => self.clone & flag as u64 != 0,
        }
    }

    /// Their names, for users.
    pub fn names(&self) -> Vec<&'static str> {
        let flags = [
            (libc::CLONE_NEWUSER, "user"),
            (libc::CLONE_NEWNS, "mount"),
            (libc::CLONE_NEWPID, "pid"),
            (libc::CLONE_NEWUTS, "uts"),
            (libc::CLONE_NEWIPC, "ipc"),
            (libc::CLONE_NEWCGROUP, "cgroup"),
            (libc::CLONE_NEWNET, "network"),
        ];
        let mut names: Vec<_> = flags
            .into_iter()
            .filter(|(flag, _)| self.owns(*flag))
            .map(|(_, name)| name)
            .collect();
        names.extend(self.time.is_some().then_some("time"));
        names
    }
}

/// The content for /proc/self/timens_offsets.
fn time_offsets(linux: &Linux) -> Vec<u8> {
    let mut lines: Vec<_> = linux
        .time_offsets()
        .iter()
        .flatten()
        .map(|(clock, offset)| {
            format!(
                "{clock} {} {}\n",
                offset.secs().unwrap_or(0),
                offset.nanosecs().unwrap_or(0)
            )
        })
        .collect();
    lines.sort();
    lines.concat().into_bytes()
}
