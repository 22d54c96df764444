//! The meaning of a filter in terms of seccomp(2), independent of document formats and BPF.
//!
//! Uses the standard library alone, as the build script compiles the default filter with it.

/// An architecture whose system calls a filter handles. One kernel runs programs of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers: the audit architecture of [`Arch::X86_64`], numbers from `0x4000_0000`.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
}

impl Arch {
    /// The `AUDIT_ARCH_*` value of `linux/audit.h` that the kernel hands to the filter.
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The architectures whose programs a container may run here: Docker's `archMap` without x32, which hardly any program uses,
    /// most kernels leave out, and which had holes of its own (CVE-2014-0038).
    pub fn family(self) -> &'static [Arch] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::X86 => &[Self::X86],
            Self::X32 => &[Self::X32],
            Self::Arm => &[Self::Arm],
        }
    }

    /// From Rust's name of a target architecture; `None` if there is no table of system calls for it.
    pub fn from_target(target: &str) -> Option<Self> {
        match target {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }
}

/// What happens to a system call. The order is the kernel's precedence, with the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// End the process with SIGSYS.
    KillProcess,
    /// End the thread with SIGSYS.
    KillThread,
    /// Send SIGSYS.
    Trap,
    /// Fail with this errno.
    Errno(u16),
    /// Notify the tracer, with this message.
    Trace(u16),
    /// Log it and let it pass.
    Log,
    /// Let it pass.
    Allow,
}

impl Action {
    /// The value a filter returns, of `linux/seccomp.h`.
    pub fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Self::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Whether the call is made in the end, so that an unknown number needs no ENOSYS from the filter.
    pub fn passes(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }
}

/// How an argument is compared; all 64 bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less or equal.
    Le,
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Greater than.
    Gt,
    /// Equal in the bits of this mask.
    MaskedEq(u64),
}

/// One condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// What happens to some system calls when all conditions hold.
///
/// Of several rules for one call the gravest action wins, independent of their order. The kernel treats several filters alike, and
/// a later rule cannot undo a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// The calls, by the kernel's names. One that an architecture lacks is skipped there.
    pub names: Vec<&'a str>,
    /// What happens to them.
    pub action: Action,
    /// All must hold; none: always.
    pub conditions: Vec<Condition>,
}

/// A whole filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// What happens where no rule matches.
    pub default: Action,
    /// Programs of any other architecture are killed at their first call.
    pub arches: Vec<Arch>,
    /// In any order.
    pub rules: Vec<Rule<'a>>,
}
