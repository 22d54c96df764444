//! Parsing of `-v`, `--mount` and `--tmpfs` into mounts of the runtime spec. Touches no files.
//!
//! The options of a bind mount also apply to everything mounted below its source, as docker does for read-only since version 25. Mounts
//! that are propagated into it later (`rslave`, `rshared`) have the options that the host gives them.

mod csv;
mod mount;
mod tmpfs;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::Error;

/// A requested mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        destination: PathBuf,
        /// Mount options of the runtime spec, `rbind` included.
        options: Vec<String>,
        /// Whether a missing source directory is created, as by `-v` but not by `--mount`.
        create: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// Absolute path in the container.
        destination: PathBuf,
        /// Mount options of the runtime spec.
        options: Vec<String>,
    },
}

impl Volume {
    /// `-v SRC:DST[:OPTIONS]`. `base` is the caller's working directory, for a source that begins with `.`.
    pub fn bind(text: &str, base: &Path) -> Result<Self, Error> {
        let bad = |reason: &str| Error::spec("-v", format!("{text:?}: {reason}"));
        let mut parts = text.splitn(3, ':');
        let (source, destination) = match (parts.next(), parts.next()) {
            (Some(source), Some(destination)) if !source.is_empty() && !destination.is_empty() => {
                (source, destination)
            }
            _ => return Err(bad("expected SOURCE:DESTINATION[:OPTIONS]")),
        };
        if !source.starts_with(['/', '.']) {
            return Err(bad("the source must be a path that begins with / or ."));
        }
        let words = parts.next().unwrap_or("").split(',');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let options = bind_options(&words).map_err(|reason| bad(&reason))?;
        Ok(Self::Bind {
            source: lexical(&base.join(source)),
            destination: absolute(destination)
                .ok_or_else(|| bad("the destination must be an absolute path below /"))?,
            options,
            create: true,
        })
    }

    /// `--tmpfs DST[:OPTIONS]`, options such as `size=64m,mode=1777`.
    pub fn tmpfs(text: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::spec("--tmpfs", format!("{text:?}: {reason}"));
        let (destination, options) = text.split_once(':').unwrap_or((text, ""));
        let mut all: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            tmpfs::check(option).map_err(|reason| bad(&reason))?;
            if option != "notmpcopyup" {
                all.push(option.to_owned());
            }
        }
        Ok(Self::Tmpfs {
            destination: absolute(destination)
                .ok_or_else(|| bad("the destination must be an absolute path below /"))?,
            options: all,
        })
    }

    /// `--mount type=bind|tmpfs,source=..,target=..[,readonly][,bind-propagation=..]`, a record of comma-separated values.
    pub fn mount(text: &str, base: &Path) -> Result<Self, Error> {
        mount::read(text, base)
    }

    /// Refuses two mounts on one mount point, as one would hide the other.
    pub fn check_places(volumes: &[Self]) -> Result<(), Error> {
        for (index, volume) in volumes.iter().enumerate() {
            let place = volume.destination();
            if volumes[..index]
                .iter()
                .any(|other| other.destination() == place)
            {
                let reason = "two volumes cannot have the same mount point";
                return Err(Error::spec(place.display().to_string(), reason));
            }
        }
        Ok(())
    }

    /// The mount point in the container.
    pub fn destination(&self) -> &Path {
        match self {
            Self::Bind { destination, .. } | Self::Tmpfs { destination, .. } => destination,
        }
    }

    /// The entry of the spec's `mounts`.
    pub(crate) fn to_mount(&self) -> Mount {
        let mut mount = Mount::default();
        mount.set_destination(self.destination().to_owned());
        match self {
            Self::Bind {
                source, options, ..
            } => {
                mount.set_typ(Some("bind".to_owned()));
                mount.set_source(Some(source.clone()));
                mount.set_options(Some(options.clone()));
            }
            Self::Tmpfs { options, .. } => {
                mount.set_typ(Some("tmpfs".to_owned()));
                mount.set_source(Some("tmpfs".into()));
                mount.set_options(Some(options.clone()));
            }
        }
        mount
    }
}

/// Why `bind-recursive=readonly` is refused.
const LATER_MOUNTS: &str =
    "what is mounted there later could be written to; that goes with private propagation alone";

/// Translates the options of `-v` into those of the runtime spec, `rbind` or `bind` first.
fn bind_options(words: &[&str]) -> Result<Vec<String>, String> {
    const OPPOSITES: [(&str, &str); 4] = [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
    ];
    let has = |word: &str| words.contains(&word);
    if let Some((one, other)) = OPPOSITES.iter().find(|(one, other)| has(one) && has(other)) {
        return Err(format!("{one} and {other} contradict each other"));
    }
    let recursive = !has("bind");
    let mut options = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
    for word in words {
        match *word {
            // SELinux labels, and options for macOS: ignored.
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "bind" | "rbind" => {}
            "ro-non-recursive" => options.push("ro".to_owned()),
            "ro-force-recursive"
                if has("slave") || has("rslave") || has("shared") || has("rshared") =>
            {
                return Err(LATER_MOUNTS.to_owned());
            }
            "ro-force-recursive" => options.push("rro".to_owned()),
            "ro" | "rw" | "nosuid" | "suid" | "nodev" | "dev" | "noexec" | "exec" | "noatime"
            | "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" | "rro"
            | "nosymfollow" => options.push(as_deep_as_it_goes(word, recursive)),
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

/// The recursive form of an option that takes a right away.
fn as_deep_as_it_goes(word: &str, recursive: bool) -> String {
    match word {
        "ro" | "nosuid" | "nodev" | "noexec" | "nosymfollow" if recursive => format!("r{word}"),
        _ => word.to_owned(),
    }
}

/// Bytes: a number, perhaps with a unit of 1024s such as `k`, `m` or `GiB`.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix("ib").or(lower.strip_suffix('b'));
    let plain = plain.unwrap_or(&lower);
    let units = "kmgtpe";
    let (number, shift) = match plain.char_indices().last() {
        Some((at, unit)) if units.contains(unit) => {
            let power = units.find(unit).unwrap_or_default() as u32 + 1;
            (&plain[..at], 10 * power)
        }
        _ => (plain, 0),
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| digits)?;
    number.checked_mul(1 << shift)
}

/// An absolute path other than the root, without `.` and `..`.
fn absolute(text: &str) -> Option<PathBuf> {
    let path = lexical(Path::new(text));
    (text.starts_with('/') && path.components().count() > 1).then_some(path)
}

/// Resolves `.` and `..` as text. Symbolic links are followed later.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
