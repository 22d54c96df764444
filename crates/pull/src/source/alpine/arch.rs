//! Alpine's names of architectures.

use box_cache::{Arch, Platform};

/// The name of a platform in the paths of Alpine's mirrors; `None` if Alpine is not built for it.
pub fn alpine_arch(platform: &Platform) -> Option<&'static str> {
    if platform.os() != "linux" {
        return None;
    }
    Some(match platform.arch()? {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "aarch64",
        Arch::ArmV6 => "armhf",
        Arch::ArmV7 => "armv7",
        Arch::I386 => "x86",
        Arch::Ppc64le => "ppc64le",
        Arch::Riscv64 => "riscv64",
        Arch::S390x => "s390x",
        Arch::Loong64 => "loongarch64",
    })
}
