//! Profiles as documents: `linux.seccomp` of the OCI runtime spec, and Docker's JSON, which adds conditions on the host and the
//! container's capabilities. They are evaluated while it is read.

use std::str::FromStr;

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use serde::Deserialize;

use super::policy::{Action, Arch, Comparison, Condition, Policy, Rule};
use crate::Error;
use crate::privileges::capabilities::{Capability, Set};

/// The facts that a Docker profile's conditions refer to.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The native architecture.
    pub arch: Arch,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// The container's bounding set.
    pub capabilities: Set,
}

/// Reads a profile in Docker's or the OCI's form, evaluates its conditions for `host`, and returns it in the OCI's form.
pub fn read(text: &str, host: &Host) -> Result<LinuxSeccomp, Error> {
    let document: Document = serde_json::from_str(text).map_err(|error| Error::SeccompProfile {
        reason: error.to_string(),
    })?;
    let mut syscalls = Vec::new();
    for entry in &document.syscalls {
        if entry.applies(host)? {
            syscalls.push(entry.to_oci()?);
        }
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(document.default_action)
        .set_default_errno_ret(document.default_errno_ret)
        .set_architectures(Some(document.architectures(host)?))
        .set_flags(document.flags)
        .set_listener_path(document.listener_path)
        .set_listener_metadata(document.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(profile)
}

/// The policy that an OCI profile describes. It always has the `native` architecture, as programs of unlisted ones are killed.
pub fn policy(profile: &LinuxSeccomp, native: Arch) -> Result<Policy<'_>, Error> {
    if profile.listener_path().is_some() {
        return Err(unsupported(
            "listenerPath: system calls cannot be handed to another process",
        ));
    }
    let mut arches = vec![native];
    for arch in profile.architectures().iter().flatten() {
        match known_arch(*arch) {
            Some(arch) if !arches.contains(&arch) => arches.push(arch),
            _ => {}
        }
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut rules = Vec::new();
    for syscall in profile.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret())?;
        let names: Vec<&str> = syscall.names().iter().map(String::as_str).collect();
        let conditions = syscall
            .args()
            .iter()
            .flatten()
            .map(condition)
            .collect::<Result<Vec<Condition>, Error>>()?;
        // Several conditions on one argument are alternatives, as in runc and crun.
        let alternatives = (0..6).any(|index| {
            conditions
                .iter()
                .filter(|other| other.index == index)
                .count()
                > 1
        });
        if alternatives {
            let each = conditions.into_iter().map(|one| Rule {
                names: names.clone(),
                action,
                conditions: vec![one],
            });
            rules.extend(each);
        } else {
            rules.push(Rule {
                names,
                action,
                conditions,
            });
        }
    }
    Ok(Policy {
        default,
        arches,
        rules,
    })
}

/// Converts a policy to an OCI profile, for a config.json that other runtimes read.
pub fn to_oci(policy: &Policy) -> LinuxSeccomp {
    let (default_action, default_errno) = oci_action(policy.default);
    let syscalls = policy.rules.iter().map(|rule| {
        let (action, errno) = oci_action(rule.action);
        let mut syscall = LinuxSyscall::default();
        syscall
            .set_names(rule.names.iter().map(|name| (*name).to_owned()).collect())
            .set_action(action)
            .set_errno_ret(errno);
        if !rule.conditions.is_empty() {
            syscall.set_args(Some(rule.conditions.iter().map(oci_condition).collect()));
        }
        syscall
    });
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(default_action)
        .set_default_errno_ret(default_errno)
        .set_architectures(Some(
            policy.arches.iter().map(|arch| oci_arch(*arch)).collect(),
        ))
        .set_syscalls(Some(syscalls.collect()));
    profile
}

/// The flags of seccomp(2) in a profile. The default is runc's, SPEC_ALLOW: older kernels tie a mitigation to seccomp that slows
/// every program in the container down.
pub fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(flags) = profile.flags() else {
        return SPEC_ALLOW;
    };
    flags.iter().fold(0, |all, flag| {
        all | match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            // Only concerns a listener, which is not supported.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
pub const SPEC_ALLOW: u32 = 1 << 2;

/// Docker's form; the OCI's is the same without the conditions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<OciArch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Conditions>,
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

impl Document {
    fn architectures(&self, host: &Host) -> Result<Vec<OciArch>, Error> {
        let maps = self.arch_map.iter().flatten();
        if let Some(architectures) = &self.architectures {
            if maps.count() > 0 && !architectures.is_empty() {
                return Err(unsupported("both architectures and archMap are given"));
            }
            return Ok(architectures.clone());
        }
        let native = oci_arch(host.arch);
        let mut all = vec![native];
        for map in maps.filter(|map| OciArch::from_str(&map.architecture) == Ok(native)) {
            let others = map.sub_architectures.iter().flatten();
            // Programs of unknown architectures cannot run here either.
            all.extend(others.filter_map(|name| OciArch::from_str(name).ok()));
        }
        Ok(all)
    }
}

impl Entry {
    /// Docker's rule: all of `includes` must hold and none of `excludes`. In `includes`, all capabilities and one of the
    /// architectures must match; in `excludes`, one match is enough.
    fn applies(&self, host: &Host) -> Result<bool, Error> {
        if let Some(includes) = &self.includes {
            let arch = includes.arches.is_empty() || includes.names(host.arch);
            let caps = includes.caps.iter().all(|name| holds(host, name));
            if !arch || !caps || !includes.kernel_reached(host)?.unwrap_or(true) {
                return Ok(false);
            }
        }
        if let Some(excludes) = &self.excludes {
            let caps = excludes.caps.iter().any(|name| holds(host, name));
            if excludes.names(host.arch) || caps || excludes.kernel_reached(host)?.unwrap_or(false)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn to_oci(&self) -> Result<LinuxSyscall, Error> {
        let names = match (&self.name, &self.names) {
            (Some(name), None) => vec![name.clone()],
            (None, Some(names)) => names.clone(),
            (Some(_), Some(_)) => return Err(unsupported("a rule has both name and names")),
            (None, None) => return Err(unsupported("a rule has neither name nor names")),
        };
        let mut syscall = LinuxSyscall::default();
        syscall
            .set_names(names)
            .set_action(self.action)
            .set_errno_ret(self.errno_ret);
        syscall.set_args(self.args.clone().filter(|args| !args.is_empty()));
        Ok(syscall)
    }
}

impl Conditions {
    fn names(&self, arch: Arch) -> bool {
        self.arches.iter().any(|name| name == go_arch(arch))
    }

    fn kernel_reached(&self, host: &Host) -> Result<Option<bool>, Error> {
        let Some(version) = &self.min_kernel else {
            return Ok(None);
        };
        let numbers = version
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let wanted: (u32, u32) = numbers.ok_or_else(|| Error::SeccompProfile {
            reason: format!("minKernel is {version:?}, expected MAJOR.MINOR such as \"4.8\""),
        })?;
        Ok(Some(host.kernel >= wanted))
    }
}

fn holds(host: &Host, name: &str) -> bool {
    name.parse::<Capability>()
        .is_ok_and(|capability| host.capabilities.contains(capability))
}

fn unsupported(what: &str) -> Error {
    Error::SeccompProfile {
        reason: what.to_owned(),
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Action, Error> {
    let value = errno.unwrap_or(1);
    let small = u16::try_from(value)
        .ok()
        .filter(|value| *value <= 4095)
        .ok_or_else(|| Error::SeccompProfile {
            reason: format!("errnoRet is {value}, expected at most 4095"),
        })?;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Action::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(small),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(small),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(unsupported(
                "SCMP_ACT_NOTIFY: system calls cannot be handed to another process",
            ));
        }
    })
}

fn oci_action(action: Action) -> (LinuxSeccompAction, Option<u32>) {
    match action {
        Action::KillProcess => (LinuxSeccompAction::ScmpActKillProcess, None),
        Action::KillThread => (LinuxSeccompAction::ScmpActKillThread, None),
        Action::Trap => (LinuxSeccompAction::ScmpActTrap, None),
        Action::Errno(errno) => (LinuxSeccompAction::ScmpActErrno, Some(errno.into())),
        Action::Trace(message) => (LinuxSeccompAction::ScmpActTrace, Some(message.into())),
        Action::Log => (LinuxSeccompAction::ScmpActLog, None),
        Action::Allow => (LinuxSeccompAction::ScmpActAllow, None),
    }
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition, Error> {
    let index = u8::try_from(arg.index())
        .ok()
        .filter(|index| *index < 6)
        .ok_or_else(|| Error::SeccompProfile {
            reason: format!("argument index is {}, expected 0 to 5", arg.index()),
        })?;
    let (comparison, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (Comparison::Ne, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Comparison::Lt, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Comparison::Le, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (Comparison::Eq, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Comparison::Ge, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Comparison::Gt, arg.value()),
        // Here `value` is the mask and `valueTwo` what it is compared with.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            Comparison::MaskedEq(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    Ok(Condition {
        index,
        comparison,
        value,
    })
}

fn oci_condition(condition: &Condition) -> LinuxSeccompArg {
    let (op, value, value_two) = match condition.comparison {
        Comparison::Ne => (LinuxSeccompOperator::ScmpCmpNe, condition.value, None),
        Comparison::Lt => (LinuxSeccompOperator::ScmpCmpLt, condition.value, None),
        Comparison::Le => (LinuxSeccompOperator::ScmpCmpLe, condition.value, None),
        Comparison::Eq => (LinuxSeccompOperator::ScmpCmpEq, condition.value, None),
        Comparison::Ge => (LinuxSeccompOperator::ScmpCmpGe, condition.value, None),
        Comparison::Gt => (LinuxSeccompOperator::ScmpCmpGt, condition.value, None),
        Comparison::MaskedEq(mask) => (
            LinuxSeccompOperator::ScmpCmpMaskedEq,
            mask,
            Some(condition.value),
        ),
    };
    let arg = LinuxSeccompArgBuilder::default()
        .index(usize::from(condition.index))
        .op(op)
        .value(value);
    let arg = if let Some(second) = value_two {
        arg.value_two(second)
    } else {
        arg
    };
    arg.build()
        .expect("the builder has defaults for all fields")
}

/// `None` for architectures without a table: their programs are killed, like those of any unlisted one.
fn known_arch(arch: OciArch) -> Option<Arch> {
    match arch {
        OciArch::ScmpArchX86_64 => Some(Arch::X86_64),
        OciArch::ScmpArchX86 => Some(Arch::X86),
        OciArch::ScmpArchX32 => Some(Arch::X32),
        OciArch::ScmpArchAarch64 => Some(Arch::Aarch64),
        OciArch::ScmpArchArm => Some(Arch::Arm),
        _ => None,
    }
}

fn oci_arch(arch: Arch) -> OciArch {
    match arch {
        Arch::X86_64 => OciArch::ScmpArchX86_64,
        Arch::X86 => OciArch::ScmpArchX86,
        Arch::X32 => OciArch::ScmpArchX32,
        Arch::Aarch64 => OciArch::ScmpArchAarch64,
        Arch::Arm => OciArch::ScmpArchArm,
    }
}

/// Go's name, which Docker's conditions use.
fn go_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::X86 => "x86",
        Arch::X32 => "x32",
        Arch::Aarch64 => "arm64",
        Arch::Arm => "arm",
    }
}
