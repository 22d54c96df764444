//! `-v`, `--mount` and `--tmpfs`: text in, a mount of the runtime spec out. Pure.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::Error;

/// One mount that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        destination: PathBuf,
        /// Mount options in the OCI's words, `rbind` included.
        options: Vec<String>,
        /// Make the source directory if it is missing, as `-v` does and `--mount` does not.
        create: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// Absolute path in the container.
        destination: PathBuf,
        /// Mount options in the OCI's words.
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
        let mut options = vec![];
        for option in parts
            .next()
            .unwrap_or("")
            .split(',')
            .filter(|option| !option.is_empty())
        {
            match option {
                // SELinux relabelling; nothing to do where no label is in use.
                "z" | "Z" => {}
                "ro" | "rw" | "bind" | "rbind" | "nosuid" | "suid" | "nodev" | "dev" | "noexec"
                | "exec" | "noatime" | "private" | "rprivate" | "slave" | "rslave" | "shared"
                | "rshared" | "rro" | "nosymfollow" => {
                    options.push(option.to_owned());
                }
                other => return Err(bad(&format!("unknown option {other}"))),
            }
        }
        if !options
            .iter()
            .any(|option| option == "bind" || option == "rbind")
        {
            options.insert(0, "rbind".to_owned());
        }
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
        all.extend(
            options
                .split(',')
                .filter(|option| !option.is_empty())
                .map(str::to_owned),
        );
        Ok(Self::Tmpfs {
            destination: absolute(destination)
                .ok_or_else(|| bad("the destination must be an absolute path below /"))?,
            options: all,
        })
    }

    /// `--mount type=bind|tmpfs,source=..,target=..[,readonly][,bind-propagation=..]`.
    pub fn mount(text: &str, base: &Path) -> Result<Self, Error> {
        let bad = |reason: &str| Error::spec("--mount", format!("{text:?}: {reason}"));
        let (mut kind, mut source, mut destination) = (None, None, None);
        let (mut options, mut bind) = (vec![], "rbind");
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let flag = || match value {
                "" | "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(bad(&format!("{key} is true or false"))),
            };
            match key {
                "type" => kind = Some(value),
                "source" | "src" => source = Some(value),
                "target" | "destination" | "dst" => destination = Some(value),
                "readonly" | "ro" => options.push(if flag()? { "ro" } else { "rw" }.to_owned()),
                "bind-propagation" => options.push(value.to_owned()),
                "bind-recursive" if value == "disabled" => bind = "bind",
                "bind-recursive" if value == "readonly" => options.push("rro".to_owned()),
                "bind-recursive" if matches!(value, "enabled" | "writable") => {}
                "tmpfs-size" => options.push(format!("size={value}")),
                "tmpfs-mode" => options.push(format!("mode={value}")),
                "nosuid" | "nodev" | "noexec" | "exec" if value.is_empty() => {
                    options.push(key.to_owned())
                }
                _ => return Err(bad(&format!("unknown field {field}"))),
            }
        }
        let destination = destination
            .and_then(absolute)
            .ok_or_else(|| bad("an absolute target= below / is missing"))?;
        match (kind.unwrap_or("bind"), source) {
            ("bind", Some(source)) if !source.is_empty() => {
                options.insert(0, bind.to_owned());
                Ok(Self::Bind {
                    source: lexical(&base.join(source)),
                    destination,
                    options,
                    create: false,
                })
            }
            ("bind", _) => Err(bad("source= is missing")),
            ("tmpfs", None) => {
                let mut all: Vec<String> = ["nosuid", "nodev"].map(str::to_owned).to_vec();
                all.extend(options);
                Ok(Self::Tmpfs {
                    destination,
                    options: all,
                })
            }
            ("tmpfs", Some(_)) => Err(bad("a tmpfs has no source")),
            (other, _) => Err(bad(&format!(
                "unknown type {other}, expected bind or tmpfs"
            ))),
        }
    }

    /// Where it appears in the container.
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

/// An absolute path other than the root, without `.` and `..`.
fn absolute(text: &str) -> Option<PathBuf> {
    let path = lexical(Path::new(text));
    (text.starts_with('/') && path.components().count() > 1).then_some(path)
}

/// `.` and `..` taken out as text: what stands in a flag is what the user meant, symbolic links are followed later.
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bind(text: &str) -> Result<Volume, Error> {
        Volume::bind(text, Path::new("/home/me"))
    }

    #[test]
    fn binds() {
        let expect = |source: &str, destination: &str, options: &[&str]| Volume::Bind {
            source: source.into(),
            destination: destination.into(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            create: true,
        };
        assert_eq!(bind("/a:/b").unwrap(), expect("/a", "/b", &["rbind"]));
        assert_eq!(
            bind("./a:/b/../c:ro,z").unwrap(),
            expect("/home/me/a", "/c", &["rbind", "ro"])
        );
        assert_eq!(
            bind("..:/b:bind,rslave").unwrap(),
            expect("/home", "/b", &["bind", "rslave"])
        );
    }

    #[test]
    fn refused_binds() {
        for text in [
            "",
            "/a",
            "/a:",
            ":/b",
            "/a:b",
            "/a:/",
            "/a:/..",
            "a:/b",
            "/a:/b:what",
        ] {
            assert!(bind(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts() {
        let base = Path::new("/");
        let volume = Volume::mount("type=tmpfs,target=/t,tmpfs-size=1m", base).unwrap();
        assert_eq!(
            volume.to_mount().options().clone().unwrap(),
            ["nosuid", "nodev", "size=1m"]
        );
        let volume = Volume::mount(
            "type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave",
            base,
        )
        .unwrap();
        assert_eq!(
            volume.to_mount().options().clone().unwrap(),
            ["rbind", "ro", "rslave"]
        );
        for text in [
            "",
            "type=bind,target=/b",
            "type=proc,target=/b",
            "type=tmpfs,src=/a,dst=/b",
            "src=/a,dst=/b,ro=x",
        ] {
            assert!(Volume::mount(text, base).is_err(), "{text}");
        }
    }
}
