//! A plan in words: for `--dry-run`, and for the step at which a start failed.

use std::fmt;

use super::{Plan, Rootfs};
use crate::Error;
use crate::capabilities::Set;
use crate::channel::{Failed, Step};
use crate::mounts::{ASTRAY, TAKEN};

impl fmt::Display for Plan {
    /// What `--dry-run` prints: root, mounts in order, namespaces, user, control group, filter, command.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rootfs {
            Rootfs::Overlay { overlay, target } => {
                writeln!(
                    out,
                    "rootfs      overlay on {} ({})",
                    target.to_string_lossy(),
                    overlay.describe()
                )?;
            }
            Rootfs::Mapped { bundle, layers, .. } => {
                writeln!(
                    out,
                    "rootfs      id-mapped overlay of {} layers in {}",
                    layers.len(),
                    bundle.display()
                )?;
            }
            Rootfs::Copy { path, .. } => {
                writeln!(out, "rootfs      copy of the layers in {}", path.display())?;
            }
            Rootfs::Directory { path, .. } => writeln!(out, "rootfs      {}", path.display())?,
        }
        for step in &self.mounts {
            let read_only = if step.options.is_read_only() {
                " (read-only)"
            } else {
                ""
            };
            writeln!(
                out,
                "mount       {} on {}{read_only}",
                step.what(),
                step.destination.display()
            )?;
        }
        writeln!(out, "masked      {}", self.masked_paths.join(" "))?;
        writeln!(out, "read-only   {}", self.read_only_paths.join(" "))?;
        writeln!(out, "namespaces  {}", self.namespaces.names().join(" "))?;
        writeln!(out, "user        {}:{}", self.uid, self.gid)?;
        writeln!(out, "capability  {:?}", self.capabilities.effective)?;
        writeln!(out, "cgroup      {}", self.cgroup.display())?;
        match &self.seccomp {
            Some(filter) => writeln!(out, "seccomp     {} instructions", filter.len())?,
            None => writeln!(out, "seccomp     none")?,
        }
        let arguments = self
            .command
            .arguments
            .as_slice()
            .iter()
            .map(|text| text.to_string_lossy().into_owned());
        write!(
            out,
            "command     {}",
            arguments.collect::<Vec<_>>().join(" ")
        )
    }
}

impl Plan {
    /// Words a failed step of the child.
    pub(crate) fn failure(&self, failed: Failed) -> Error {
        let hint = self.hint(failed);
        if let Some((reason, errno)) = self.plain_failure(failed) {
            return Error::Setup {
                step: reason,
                source: errno,
                hint,
            };
        }
        if failed.step == Step::Capabilities
            && failed.errno == rustix::io::Errno::PERM
            && let Err(named) = Set::held().and_then(|held| self.capabilities.check(held))
        {
            return named;
        }
        Error::Setup {
            step: self.describe(failed.step, usize::from(failed.index)),
            source: failed.errno.into(),
            hint,
        }
    }

    /// A step of the child and its object, such as `mount proc on /proc`.
    pub(crate) fn describe(&self, step: Step, index: usize) -> String {
        let path = |list: &[String]| list.get(index).cloned().unwrap_or_default();
        match step {
            Step::Mount => self.mounts.get(index).map_or_else(String::new, |step| {
                format!("mount {} on {}", step.what(), step.destination.display())
            }),
            Step::MountTarget => self.mounts.get(index).map_or_else(String::new, |step| {
                format!(
                    "mount {} on {}: open that path in the image",
                    step.what(),
                    step.destination.display()
                )
            }),
            Step::Device => format!(
                "make {}",
                self.nodes
                    .as_ref()
                    .map(|nodes| nodes.path(index))
                    .unwrap_or_default()
            ),
            Step::Rootfs => match &self.rootfs {
                Rootfs::Overlay { target, .. } => {
                    format!("mount the overlay on {}", target.to_string_lossy())
                }
                Rootfs::Mapped { bundle, .. } => {
                    format!("mount the overlay in {}", bundle.display())
                }
                Rootfs::Copy { path, .. } | Rootfs::Directory { path, .. } => {
                    format!("mount the root file system {}", path.display())
                }
            },
            Step::Mask => format!("mask {}", path(&self.masked_paths)),
            Step::ReadOnlyPath => format!("make {} read-only", path(&self.read_only_paths)),
            Step::Sysctl => self.sysctls.get(index).map_or_else(String::new, |sysctl| {
                format!(
                    "set /proc/{} to {}",
                    sysctl.path.to_string_lossy(),
                    String::from_utf8_lossy(&sysctl.value)
                )
            }),
            Step::Rlimit => match (self.rlimit_names.get(index), self.rlimits.get(index)) {
                (Some(name), Some((_, soft, hard))) => {
                    format!("set the limit {name} to {soft}:{hard}")
                }
                _ => String::new(),
            },
            Step::JoinNamespace => {
                self.namespaces
                    .joined
                    .get(index)
                    .map_or_else(String::new, |joined| {
                        format!(
                            "join the {} namespace {}",
                            joined.kind,
                            joined.path.display()
                        )
                    })
            }
            Step::WorkingDirectory => format!(
                "change to the working directory {}",
                self.cwd.to_string_lossy()
            ),
            Step::User => format!("become user {}:{}", self.uid, self.gid),
            Step::OomScore => format!(
                "set the OOM score to {}",
                self.oom_score_adj
                    .clone()
                    .unwrap_or_default()
                    .to_string_lossy()
            ),
            Step::Hostname => format!(
                "set the host name {}",
                self.hostname.clone().unwrap_or_default().to_string_lossy()
            ),
            step => fixed(step).to_owned(),
        }
    }

    /// Failures whose error number does not say what happened.
    fn plain_failure(&self, failed: Failed) -> Option<(String, std::io::Error)> {
        let cwd = self.cwd.to_string_lossy();
        match failed.step {
            Step::WorkingDirectoryOutside => Some((
                format!("change to the working directory {cwd}"),
                std::io::Error::other("it is outside of the container's root"),
            )),
            Step::MountTarget if matches!(failed.errno, ASTRAY | TAKEN) => {
                let step = self.mounts.get(usize::from(failed.index))?;
                Some((
                    format!("mount {} on {}", step.what(), step.destination.display()),
                    std::io::Error::other(if failed.errno == ASTRAY {
                        "a symbolic link in the image leads from there to a device, or to a file system of the kernel's such as /proc"
                    } else {
                        "by a symbolic link in the image that is the place of another volume"
                    }),
                ))
            }
            Step::Mask | Step::ReadOnlyPath if failed.errno == ASTRAY => Some((
                self.describe(failed.step, usize::from(failed.index)),
                std::io::Error::other(
                    "a symbolic link in the image leads from there to a device, or to a file system of the kernel's such as /proc",
                ),
            )),
            Step::Sysctl if failed.errno == rustix::io::Errno::NOENT => Some((
                self.describe(failed.step, usize::from(failed.index)),
                std::io::Error::other("the container's namespaces have no such parameter"),
            )),
            Step::MountTarget if failed.errno == rustix::io::Errno::LOOP => {
                let step = self.mounts.get(usize::from(failed.index))?;
                let reason = "the image has a symbolic link there, where only a directory is safe";
                Some((
                    format!("mount {} on {}", step.what(), step.destination.display()),
                    std::io::Error::other(reason),
                ))
            }
            _ => None,
        }
    }

    fn hint(&self, failed: Failed) -> Option<String> {
        use rustix::io::Errno;
        let text = match (failed.step, failed.errno) {
            (Step::Rootfs, Errno::INVAL) if matches!(self.rootfs, Rootfs::Overlay { .. }) => {
                "the file system of the instances may not be able to hold an overlay's upper directory (overlay on overlay, NFS): \
                 put --root on another one, or give the container a copy with --storage copy"
            }
            (Step::Rootfs, Errno::NODEV) => {
                "the kernel has no overlay file system: modprobe overlay, or give the container a copy with --storage copy"
            }
            (Step::MountTarget, Errno::ISDIR | Errno::NOTDIR) => {
                "a file is mounted on a file, a directory on a directory; the image has the other one there"
            }
            (Step::Seal, Errno::PERM | Errno::NOSYS) => {
                "box executes a program from memory; what it runs in does not allow execveat"
            }
            (Step::Enter | Step::Meet | Step::Session, Errno::PERM | Errno::NOSYS) => {
                "the container's seccomp profile does not allow what a process needs to join: clone, setsid, ioctl, read and write"
            }
            (Step::Enter, Errno::AGAIN) => {
                "a process that joins needs room for two, for a moment; see --pids-limit and the limit nproc of the container"
            }
            (Step::Rlimit, Errno::PERM) => "raising a hard limit needs CAP_SYS_RESOURCE",
            (Step::Pivot, Errno::INVAL) => "on a host whose root is the initramfs use --no-pivot",
            (Step::Mount | Step::Unshare | Step::Propagation, Errno::PERM) => {
                "box needs CAP_SYS_ADMIN; inside another container run that one privileged"
            }
            (_, Errno::NOSYS) => "this kernel lacks the system call: Linux 5.12 or later is needed",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Steps that have no object.
fn fixed(step: Step) -> &'static str {
    match step {
        Step::DieWithParent => "tie the container to box's life",
        Step::Unshare => "make a namespace",
        Step::Loopback => "set the loopback device up",
        Step::Session => "make a session",
        Step::Propagation => "make the mounts private",
        Step::Terminal => "allocate a terminal",
        Step::Handshake => "wait for box",
        Step::Hook => "find out what a hook is told",
        Step::ReadOnlyRoot => "make the root file system read-only",
        Step::Pivot => "change the root",
        Step::Domainname => "set the domain name",
        Step::Personality => "set the personality",
        Step::Keyring => "make a session keyring",
        Step::UserNamespace => "become root of the user namespace",
        Step::NoNewPrivileges => "set no_new_privs",
        Step::Seccomp => "install the seccomp filter",
        Step::BoundingSet => "shrink the capability bounding set",
        Step::Groups => "set the supplementary groups",
        Step::Capabilities => "set the capabilities",
        Step::Stdio => "set standard input, output and error",
        Step::CloseDescriptors => "close inherited descriptors",
        Step::Signals => "reset the signals",
        Step::Fork => "start the command below the init process",
        Step::Seal => "execute the program that executes the command",
        Step::Enter => "enter the pid namespace",
        Step::Meet => "let box know of the process",
        _ => "set the container up",
    }
}
