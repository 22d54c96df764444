//! Describes a plan, and the step at which a start failed.

use std::fmt;

use rustix::io::Errno;

use super::Plan;
use crate::Error;
use crate::channel::{Failed, Message, Step};
use crate::error::diagnosis::{ExecFailure, Finding, Text, examine};
use crate::mounts::{ASTRAY, TAKEN};
use crate::privileges::capabilities::Set;

impl fmt::Display for Plan {
    /// One line each for the root, the mounts in order, namespaces, user, control group, filter and command.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "rootfs      {}", self.root.describe())?;
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
    /// Turns a message of the child that failed into an error.
    pub(crate) fn refusal(&self, message: Message) -> Error {
        match message {
            Message::Ready(_) | Message::Arrived(_) => {
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

    /// Turns a failed step of the child into an error.
    pub(crate) fn failure(&self, failed: Failed) -> Error {
        let step = failed.step;
        if let Some((action, source)) = self.plain_failure(failed) {
            return Error::Setup {
                step,
                action,
                source,
            };
        }
        if failed.step == Step::Capabilities
            && failed.errno == Errno::PERM
            && let Err(named) = Set::held().and_then(|held| self.capabilities.check(held))
        {
            return named;
        }
        Error::Setup {
            step,
            action: self.describe(step, usize::from(failed.index)),
            source: failed.errno.into(),
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
            Step::Rootfs => self.root.step(),
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

    /// Describes failures whose error number alone would mislead.
    fn plain_failure(&self, failed: Failed) -> Option<(String, std::io::Error)> {
        let cwd = self.cwd.to_string_lossy();
        match failed.step {
            Step::WorkingDirectoryOutside => Some((
                format!("change to the working directory {cwd}"),
                std::io::Error::other("it is outside the container's root"),
            )),
            Step::MountTarget if matches!(failed.errno, ASTRAY | TAKEN) => {
                let step = self.mounts.get(usize::from(failed.index))?;
                Some((
                    format!("mount {} on {}", step.what(), step.destination.display()),
                    std::io::Error::other(if failed.errno == ASTRAY {
                        "a symbolic link in the image leads from there to a device, or to a kernel file system such as /proc"
                    } else {
                        "a symbolic link in the image leads from there to where another volume is mounted"
                    }),
                ))
            }
            Step::Mask | Step::ReadOnlyPath if failed.errno == ASTRAY => Some((
                self.describe(failed.step, usize::from(failed.index)),
                std::io::Error::other(
                    "a symbolic link in the image leads from there to a device, or to a kernel file system such as /proc",
                ),
            )),
            Step::Sysctl if failed.errno == Errno::NOENT => Some((
                self.describe(failed.step, usize::from(failed.index)),
                std::io::Error::other("the container's namespaces have no such parameter"),
            )),
            Step::MountTarget if failed.errno == Errno::LOOP => {
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
}

/// Steps that have no object.
fn fixed(step: Step) -> &'static str {
    match step {
        Step::DieWithParent => "have the container die with box",
        Step::Unshare => "make a namespace",
        Step::Loopback => "set the loopback device up",
        Step::Session => "make a session",
        Step::Propagation => "make the mounts private",
        Step::Terminal => "allocate a terminal",
        Step::Handshake => "wait for box",
        Step::Hook => "prepare the state that a hook reads",
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
        Step::Announce => "report the process to box",
        _ => "set the container up",
    }
}
