//! Seccomp: the system calls that a container may make, see seccomp(2).
//!
//! The default policy is an allow-list. For the default capabilities the build script compiles it to BPF, so that a start costs one
//! system call. For other capabilities and for profiles it is compiled at the start.
//!
//! The compiler is box's own. `seccompiler` supports one action for all calls that match and one for the rest, and one
//! architecture. EPERM for forbidden calls and ENOSYS for clone3 and unknown ones would take several filters that all run at every
//! system call, and it compares numbers one after the other.

mod bpf;
mod default;
mod policy;
mod profile;
mod syscalls;

use std::borrow::Cow;
use std::fmt;

use oci_spec::runtime::{LinuxSeccomp, Spec};
#[cfg(test)]
use rustix::io::Errno;

pub use bpf::Instruction;
pub use policy::Arch;
pub use profile::Host;

use crate::Error;
use crate::channel::Step;
use crate::privileges::capabilities::Set;
use crate::sealed::Script;
#[cfg(test)]
use crate::sys;

/// The default policy for [`Set::DEFAULT`] and the target architecture, compiled by the build script. It applies to every set that
/// differs only in capabilities that the policy does not depend on.
static DEFAULT: &[Instruction] = include!(concat!(env!("OUT_DIR"), "/default_filter.rs"));

/// The annotation that marks `linux.seccomp` of a spec as the unchanged default policy. A start then uses the filter that was
/// compiled with box and does not read the profile.
pub const DEFAULT_ANNOTATION: (&str, &str) = ("box.seccomp", "default");

/// Whether the spec marks its filter as the default one.
pub fn is_default(spec: &Spec) -> bool {
    let (key, value) = DEFAULT_ANNOTATION;
    let annotations = spec.annotations().as_ref();
    annotations
        .and_then(|annotations| annotations.get(key))
        .is_some_and(|found| found == value)
}

/// A filter ready to be installed.
#[derive(Clone)]
pub struct Filter {
    program: Cow<'static, [Instruction]>,
    flags: u32,
}

impl Filter {
    /// The default filter of a container whose bounding set is `capabilities`.
    pub fn default_for(capabilities: Set) -> Result<Self, Error> {
        let differs = capabilities.bits() ^ Set::DEFAULT.bits();
        if differs & default::capabilities_that_matter() == 0 && !DEFAULT.is_empty() {
            return Ok(Self {
                program: Cow::Borrowed(DEFAULT),
                flags: profile::SPEC_ALLOW,
            });
        }
        let policy = default::policy(native()?, capabilities.bits());
        Self::assemble(&policy, profile::SPEC_ALLOW)
    }

    /// The filter that an OCI profile describes.
    ///
    /// System calls that this release does not know are skipped, and get the default action. Calls newer than all that the profile
    /// names fail with ENOSYS, unless its default lets calls pass.
    pub fn compile(profile: &LinuxSeccomp) -> Result<Self, Error> {
        Self::assemble(
            &profile::policy(profile, native()?)?,
            profile::flags(profile),
        )
    }

    /// Has the sealed program install the filter. The process needs CAP_SYS_ADMIN or no_new_privs then, seccomp(2).
    pub(crate) fn install_by(&self, script: &mut Script) {
        const SET_MODE_FILTER: usize = 1;
        let mut bytes = Vec::with_capacity(self.program.len() * size_of::<Instruction>());
        for instruction in self.program.iter() {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        let filter = script.place(&bytes);
        // struct sock_fprog: a padded 16-bit length and the address.
        let mut head = [0u8; 8];
        head[..2].copy_from_slice(&(self.program.len() as u16).to_ne_bytes());
        let program = script.place_numbers(&[usize::from_ne_bytes(head), filter]);
        let arguments = [SET_MODE_FILTER, self.flags as usize, program];
        script.call(libc::SYS_seccomp, &arguments, Step::Seccomp, 0);
    }

    /// Installs the filter on the calling thread, which needs CAP_SYS_ADMIN or no_new_privs.
    #[cfg(test)]
    pub fn install(&self) -> Result<(), Errno> {
        let of_kernel = |one: &Instruction| libc::sock_filter {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        };
        let program: Vec<_> = self.program.iter().map(of_kernel).collect();
        sys::seccomp_filter(&program, self.flags)
    }

    /// How many instructions it has, at most 4096.
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// Always false: a filter has instructions.
    pub fn is_empty(&self) -> bool {
        self.program.is_empty()
    }

    fn assemble(policy: &policy::Policy, flags: u32) -> Result<Self, Error> {
        let program = bpf::compile(policy, &syscalls::Table::load());
        if program.len() > bpf::MOST_INSTRUCTIONS {
            let reason = format!(
                "it needs {} instructions and the kernel accepts {}; use fewer conditions on arguments",
                program.len(),
                bpf::MOST_INSTRUCTIONS
            );
            return Err(Error::SeccompProfile { reason });
        }
        Ok(Self {
            program: Cow::Owned(program),
            flags,
        })
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Filter({} instructions)", self.program.len())
    }
}

/// The default policy for a bounding set as an OCI profile, to be written into config.json.
pub fn default_profile(capabilities: Set) -> Result<LinuxSeccomp, Error> {
    Ok(profile::to_oci(&default::policy(
        native()?,
        capabilities.bits(),
    )))
}

/// Reads a profile in Docker's or the OCI's JSON. Conditions on capabilities are evaluated for the container's bounding set, those
/// on architecture and kernel for this host.
pub fn read_profile(text: &str, capabilities: Set) -> Result<LinuxSeccomp, Error> {
    profile::read(
        text,
        &Host {
            arch: native()?,
            kernel: running_kernel(),
            capabilities,
        },
    )
}

fn native() -> Result<Arch, Error> {
    Arch::from_target(std::env::consts::ARCH).ok_or_else(|| Error::SeccompProfile {
        reason: format!(
            "box has no table of system calls for {}, so a container can only run without a filter",
            std::env::consts::ARCH
        ),
    })
}

/// Major and minor version of the kernel; `(0, 0)` if its release does not begin with them, so that no rule with a minimum version
/// applies.
fn running_kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests;
