//! Which images run on which machine.

use super::Platform;

/// The level of an architecture: 2 of `v2`, 8 and 2 of `v8.2`.
type Level = (u16, u16);

impl Platform {
    /// The platform of this machine with the level of its processor, such as `linux/amd64/v3` if [`Platform::host`] is `linux/amd64`.
    ///
    /// The levels of amd64 are those of the [x86-64 psABI](https://gitlab.com/x86-psABIs/x86-64-ABI). On other architectures the
    /// result is [`Platform::host`].
    pub fn machine() -> Platform {
        let host = Platform::host();
        match (host.architecture.as_str(), amd64_level()) {
            ("amd64", level @ 2..) => Platform::new("linux", "amd64", Some(&format!("v{level}"))),
            _ => host,
        }
    }

    /// How well an image for another platform fits a request for this one. 0 is best, `None` means that it does not run there.
    ///
    /// The order is that of containerd's `platforms.Only`: first the highest level of the same architecture, then the 32-bit
    /// architecture that the same processors run. A request for the host's own platform means this machine, including the level of
    /// its processor.
    pub fn accepts(&self, image: &Platform) -> Option<u32> {
        if *self == Platform::host() {
            return Platform::machine().takes(image);
        }
        self.takes(image)
    }

    fn takes(&self, image: &Platform) -> Option<u32> {
        if self.os != image.os {
            return None;
        }
        if self.architecture == image.architecture {
            if self.variant == image.variant {
                return Some(0);
            }
            return match (self.level(), image.level()) {
                (Some(own), Some(other)) if other <= own => Some(distance(own, other)),
                // The variants of other architectures are unknown here: a request without a variant accepts any.
                (None, _) if self.variant.is_none() => Some(1),
                _ => None,
            };
        }
        let below = match (self.architecture.as_str(), image.architecture.as_str()) {
            ("amd64", "386") => 0,
            ("arm64", "arm") => distance((8, 0), image.level()?),
            _ => return None,
        };
        Some(1 << 24 | below)
    }

    /// The level of a variant. None if the architecture has no levels, or if the variant is not one.
    fn level(&self) -> Option<Level> {
        let least = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm" => "v7",
            "arm64" => "v8",
            _ => return None,
        };
        let text = self.variant.as_deref().unwrap_or(least);
        let (major, minor) = text
            .strip_prefix('v')?
            .split_once('.')
            .unwrap_or((text.strip_prefix('v')?, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
}

/// An approximate distance between two levels, to sort by.
fn distance(own: Level, other: Level) -> u32 {
    let number = |level: Level| u32::from(level.0.min(255)) << 8 | u32::from(level.1.min(255));
    number(own).saturating_sub(number(other))
}

/// The level of this processor as the psABI defines it. 1 is the lowest, and that of other architectures.
fn amd64_level() -> u8 {
    #[cfg(target_arch = "x86_64")]
    {
        // LAHF and SAHF, which are a part of level 2, came to every processor before SSE4.2 did, and XSAVE's use by the
        // operating system, a part of level 3, is what the detection of AVX means.
        macro_rules! has {
            ($($feature:tt)*) => { true $(&& std::arch::is_x86_feature_detected!($feature))* };
        }
        let second = has!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3");
        let third = second && has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe");
        let fourth = third && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
        1 + u8::from(second) + u8::from(third) + u8::from(fourth)
    }
    #[cfg(not(target_arch = "x86_64"))]
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.splitn(2, '/');
        Platform::new("linux", parts.next().unwrap_or_default(), parts.next())
    }

    #[test]
    fn the_best_that_runs_comes_first() {
        for (machine, runs, not) in [
            (
                "amd64/v3",
                &["amd64/v3", "amd64/v2", "amd64", "386"][..],
                &["amd64/v4", "arm64", "amd64/x"][..],
            ),
            ("amd64/v2", &["amd64/v2", "amd64/v1", "386"], &["amd64/v3"]),
            (
                "arm/v7",
                &["arm/v7", "arm/v6", "arm/v5"],
                &["arm/v8", "arm64", "amd64"],
            ),
            ("arm/v6", &["arm/v6", "arm/v5"], &["arm/v7", "arm"]),
            (
                "arm/v8",
                &["arm/v8", "arm/v7", "arm/v6", "arm/v5"],
                &["arm64"],
            ),
            (
                "arm64",
                &["arm64/v8", "arm/v8", "arm/v7", "arm/v6", "arm/v5"],
                &["arm64/v9", "arm64/v8.2", "amd64"],
            ),
            ("arm64/v9", &["arm64/v9", "arm64/v8.2", "arm64"], &[]),
            ("386", &["386"], &["amd64"]),
            ("riscv64", &["riscv64", "riscv64/rva22u64"], &["s390x"]),
            ("s390x", &["s390x"], &["ppc64le"]),
        ] {
            let machine = platform(machine);
            let ranks: Vec<Option<u32>> = runs
                .iter()
                .map(|image| machine.takes(&platform(image)))
                .collect();
            assert!(ranks.iter().all(Option::is_some), "{machine}: {ranks:?}");
            assert!(
                ranks.is_sorted() && ranks.windows(2).all(|two| two[0] != two[1]),
                "{machine}: {ranks:?}"
            );
            for image in not {
                assert_eq!(
                    machine.takes(&platform(image)),
                    None,
                    "{image} on {machine}"
                );
            }
        }
        let windows = Platform::new("windows", "amd64", None);
        assert_eq!(platform("amd64").takes(&windows), None);
    }

    #[test]
    fn this_machine_runs_what_its_processor_has() {
        let (host, machine) = (Platform::host(), Platform::machine());
        assert_eq!(host.accepts(&machine), Some(0));
        assert!(host.accepts(&host).is_some());
        assert_eq!(machine.architecture(), host.architecture());
        assert_eq!(
            host.accepts(&Platform::new("linux", host.architecture(), Some("v99"))),
            None
        );
    }
}
