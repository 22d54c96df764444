//! Architectures and platforms, under their OCI names and under those that distributions use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// An architecture that Alpine publishes root filesystems for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86
    Amd64,
    /// 64-bit ARM
    Arm64,
    /// 32-bit ARM with hardware floating point, version 6
    ArmV6,
    /// 32-bit ARM, version 7
    ArmV7,
    /// 32-bit x86
    I386,
    /// 64-bit POWER, little endian
    Ppc64le,
    /// 64-bit RISC-V
    Riscv64,
    /// IBM Z
    S390x,
    /// 64-bit LoongArch
    Loong64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 9] = [
        Arch::Amd64,
        Arch::Arm64,
        Arch::ArmV6,
        Arch::ArmV7,
        Arch::I386,
        Arch::Ppc64le,
        Arch::Riscv64,
        Arch::S390x,
        Arch::Loong64,
    ];

    /// The value of `architecture` in OCI documents (Go's GOARCH).
    pub fn oci_name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
            Arch::ArmV6 | Arch::ArmV7 => "arm",
            Arch::I386 => "386",
            Arch::Ppc64le => "ppc64le",
            Arch::Riscv64 => "riscv64",
            Arch::S390x => "s390x",
            Arch::Loong64 => "loong64",
        }
    }

    /// The value of `variant` in OCI documents.
    pub fn variant(self) -> Option<&'static str> {
        match self {
            Arch::ArmV6 => Some("v6"),
            Arch::ArmV7 => Some("v7"),
            _ => None,
        }
    }

    /// The architecture this program was built for, which is the one it can run; none where Alpine has no such port.
    pub fn host() -> Option<Arch> {
        match std::env::consts::ARCH {
            "arm" if cfg!(target_feature = "v7") => Some(Arch::ArmV7),
            "arm" => Some(Arch::ArmV6),
            "powerpc64" if cfg!(target_endian = "little") => Some(Arch::Ppc64le),
            name => name.parse().ok(),
        }
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// Accepts OCI names (`amd64`, `arm/v7`, ...) and those of Alpine and uname(1) (`x86_64`, `armhf`, ...).
    fn from_str(text: &str) -> Result<Arch, Error> {
        Ok(match text {
            "amd64" | "x86_64" | "x86-64" => Arch::Amd64,
            "arm64" | "arm64/v8" | "aarch64" => Arch::Arm64,
            "arm/v6" | "armhf" | "armv6" | "armv6l" => Arch::ArmV6,
            "arm" | "arm/v7" | "armv7" | "armv7l" => Arch::ArmV7,
            "386" | "x86" | "i386" | "i486" | "i586" | "i686" => Arch::I386,
            "ppc64le" => Arch::Ppc64le,
            "riscv64" => Arch::Riscv64,
            "s390x" => Arch::S390x,
            "loong64" | "loongarch64" => Arch::Loong64,
            _ => {
                return Err(Error::Platform {
                    text: text.chars().take(100).collect(),
                });
            }
        })
    }
}

impl fmt::Display for Arch {
    /// The OCI name with its variant, as in `arm/v7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.oci_name())?;
        self.variant()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// What an image runs on, in the terms of the OCI image specification. May name platforms that box cannot run: the
/// cache can hold them.
///
/// Always in normal form, so that equal platforms compare equal: `arm64/v8` is `arm64`, `arm` is `arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The `platform` object of a descriptor.
#[derive(Serialize, Deserialize)]
struct Record {
    architecture: String,
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl Platform {
    /// A platform in the words of an OCI document.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let variant = match (architecture, variant) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            ("arm", None | Some("")) => Some("v7"),
            (_, Some("")) => None,
            (_, variant) => variant,
        };
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The platform this program runs on.
    pub fn host() -> Platform {
        match Arch::host() {
            Some(arch) => Platform::from(arch),
            None => Platform::new("linux", std::env::consts::ARCH, None),
        }
    }

    /// `linux` for everything that box can run.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The OCI name of the architecture, without its variant.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the architecture: `v6` or `v7` of `arm`, seldom others.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The architecture, where it is one that Alpine publishes for.
    pub fn arch(&self) -> Option<Arch> {
        Arch::ALL
            .into_iter()
            .find(|arch| Platform::from(*arch) == *self)
    }

    /// The architecture and its variant as one word without slashes: `amd64`, `arm-v7`.
    pub(crate) fn suffix(&self) -> String {
        let mut suffix = self.architecture.clone();
        if self.os != "linux" {
            suffix = format!("{}-{suffix}", self.os);
        }
        if let Some(variant) = &self.variant {
            suffix = format!("{suffix}-{variant}");
        }
        suffix.retain(|c| c.is_ascii_alphanumeric() || c == '-');
        suffix
    }
}

impl From<Arch> for Platform {
    fn from(arch: Arch) -> Platform {
        Platform::new("linux", arch.oci_name(), arch.variant())
    }
}

impl From<Record> for Platform {
    fn from(record: Record) -> Platform {
        Platform::new(&record.os, &record.architecture, record.variant.as_deref())
    }
}

impl From<Platform> for Record {
    fn from(platform: Platform) -> Record {
        Record {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Accepts an architecture (`aarch64`, `arm/v7`) or `linux/` and one (`linux/arm64`).
    fn from_str(text: &str) -> Result<Platform, Error> {
        let arch = text.strip_prefix("linux/").unwrap_or(text);
        arch.parse::<Arch>()
            .map(Platform::from)
            .map_err(|_| Error::Platform {
                text: text.chars().take(100).collect(),
            })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn alpine_and_oci_names_mean_the_same() {
        for (alpine, oci) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armhf", "arm/v6"),
            ("armv7", "arm/v7"),
            ("x86", "386"),
            ("ppc64le", "ppc64le"),
            ("riscv64", "riscv64"),
            ("s390x", "s390x"),
            ("loongarch64", "loong64"),
        ] {
            let arch: Arch = alpine.parse().unwrap();
            assert_eq!(arch, oci.parse().unwrap());
            assert_eq!(arch.to_string(), oci);
            assert_eq!(
                Platform::from(arch),
                format!("linux/{oci}").parse().unwrap()
            );
            assert_eq!(Platform::from(arch).arch(), Some(arch));
        }
        assert!(
            "sparc"
                .parse::<Platform>()
                .unwrap_err()
                .to_string()
                .contains("\"sparc\"")
        );
    }

    #[test]
    fn equal_platforms_compare_equal() {
        assert_eq!(
            Platform::new("linux", "arm64", Some("v8")),
            Platform::from(Arch::Arm64)
        );
        assert_eq!(
            Platform::new("linux", "arm", None),
            Platform::from(Arch::ArmV7)
        );
        assert_ne!(Platform::from(Arch::ArmV6), Platform::from(Arch::ArmV7));
        assert_ne!(
            Platform::new("linux", "amd64", Some("v3")),
            Platform::from(Arch::Amd64)
        );
    }

    #[test]
    fn the_host_has_an_architecture() {
        assert!(Platform::host().arch().is_some());
    }
}
