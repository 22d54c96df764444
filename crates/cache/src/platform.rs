//! Architectures and platforms, under their OCI names and under those that distributions use.

mod fit;

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

    /// The architecture that this program was built for and can run. None if Alpine has no such port.
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

/// The platform of an image, in the terms of the OCI image specification. May be one that box cannot run but only store.
///
/// Always in normal form, so that equal platforms compare equal: `arm64/v8` is `arm64`, `arm` is `arm/v7`, `x86_64` is `amd64`.
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
    /// A platform from the fields of an OCI document, normalized like containerd's `platforms.Normalize`. Empty fields mean what docker
    /// takes them for: Linux, and this machine's architecture.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let os = match os.to_ascii_lowercase() {
            os if os.is_empty() => "linux".to_owned(),
            os => os,
        };
        let variant = variant.unwrap_or_default().to_ascii_lowercase();
        let lower = architecture.to_ascii_lowercase();
        let (architecture, variant) = match (lower.as_str(), variant.as_str()) {
            ("", _) => {
                let host = Platform::host();
                return Platform { os, ..host };
            }
            ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
            ("amd64" | "x86_64" | "x86-64", variant) => ("amd64", variant),
            ("386" | "i386" | "i486" | "i586" | "i686", _) => ("386", ""),
            ("arm64" | "aarch64", "8" | "8.0" | "v8" | "v8.0") => ("arm64", ""),
            ("arm64" | "aarch64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("arm64" | "aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        Platform {
            os,
            architecture: architecture.to_owned(),
            variant: Some(variant.to_owned()).filter(|variant| !variant.is_empty()),
        }
    }

    /// The platform that this program runs on.
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

    /// The variant of the architecture, such as `v7` of `arm`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The architecture, if Alpine publishes for it.
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

    /// Accepts an architecture (`aarch64`, `arm/v7`), with or without `linux/` before it (`linux/arm64`), and with a variant if it has
    /// any (`amd64/v2`, `linux/arm/v5`). `armhf` has Alpine's meaning: version 6.
    fn from_str(text: &str) -> Result<Platform, Error> {
        let unknown = || Error::Platform {
            text: text.chars().take(100).collect(),
        };
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("linux/").unwrap_or(&lower);
        if let Ok(arch) = name.parse::<Arch>() {
            return Ok(Platform::from(arch));
        }
        let (name, variant) = name.split_once('/').ok_or_else(unknown)?;
        let architecture = name.parse::<Arch>().map_err(|_| unknown())?.oci_name();
        let known: &[&str] = match architecture {
            "amd64" => &["v1", "v2", "v3", "v4"],
            "arm" => &["v5", "v6", "v7", "v8", "5", "6", "7", "8"],
            "arm64" => &["v8", "v9", "8", "9"],
            _ => &[],
        };
        match known.contains(&variant) {
            true => Ok(Platform::new("linux", architecture, Some(variant))),
            false => Err(unknown()),
        }
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
    fn odd_spellings_are_those_of_one_platform() {
        let host = Platform::host();
        for (architecture, variant, normal) in [
            ("x86_64", None, "linux/amd64"),
            ("AMD64", Some("V2"), "linux/amd64/v2"),
            ("x86-64", Some("v1"), "linux/amd64"),
            ("i386", Some("v1"), "linux/386"),
            ("aarch64", Some("8"), "linux/arm64"),
            ("arm64", Some("v8.0"), "linux/arm64"),
            ("arm64", Some("v9.0"), "linux/arm64/v9"),
            ("armhf", None, "linux/arm/v7"),
            ("armel", None, "linux/arm/v6"),
            ("arm", Some(""), "linux/arm/v7"),
            ("arm", Some("5"), "linux/arm/v5"),
            ("arm", Some("v8"), "linux/arm/v8"),
            ("riscv64", None, "linux/riscv64"),
            ("", Some("v7"), &*host.to_string()),
        ] {
            let platform = Platform::new("", architecture, variant);
            assert_eq!(platform.to_string(), normal, "{architecture} {variant:?}");
            let again = Platform::new(platform.os(), platform.architecture(), platform.variant());
            assert_eq!(again, platform);
        }
        for (text, normal) in [
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("x86_64/v1", "linux/amd64"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("armhf", "linux/arm/v6"),
            ("Linux/ARM64/v8", "linux/arm64"),
            ("i386", "linux/386"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
        for text in [
            "",
            "linux/",
            "amd64/v5",
            "386/v1",
            "windows/amd64",
            "amd64/",
            "arm/v7/x",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_has_an_architecture() {
        assert!(Platform::host().arch().is_some());
    }
}
