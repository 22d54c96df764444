//! `--mount`, with docker's keys.

use std::path::Path;

use super::{Volume, absolute, csv, lexical, size};
use crate::Error;

/// The values of the fields.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    read_only: bool,
    recursion: Recursion,
    propagation: Option<String>,
    /// Options of the runtime spec.
    options: Vec<String>,
    /// A key that only one type accepts, and that type.
    only_for: Option<(String, &'static str)>,
}

/// `bind-recursive`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Recursion {
    /// With the mounts below, which are read-only as well.
    #[default]
    Enabled,
    /// Without the mounts below.
    Disabled,
    /// With the mounts below; only the mount itself is read-only.
    Writable,
    /// With the mounts below, and read-only or an error.
    ReadOnly,
}

/// Parses the value of the flag. `base` is the caller's working directory.
pub(super) fn read(text: &str, base: &Path) -> Result<Volume, Error> {
    let bad = |reason: String| Error::spec("--mount", format!("{text:?}: {reason}"));
    let mut fields = Fields::default();
    for field in csv::fields(text).map_err(|reason| bad(reason.to_owned()))? {
        fields.add(&field).map_err(bad)?;
    }
    fields.volume(base).map_err(bad)
}

const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];

impl Fields {
    fn add(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let lower = key.to_ascii_lowercase();
        let key = lower.as_str();
        let text = || match value {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(format!("{key} needs a value, as in {key}=...")),
        };
        let flag = || match value {
            None | Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
            Some(other) => Err(format!("{key} is true or false, not {other:?}")),
        };
        if key.starts_with("bind-") {
            self.only_for = Some((key.to_owned(), "bind"));
        } else if key.starts_with("tmpfs-") {
            self.only_for = Some((key.to_owned(), "tmpfs"));
        }
        match key {
            "type" => self.kind = Some(text()?),
            "source" | "src" => self.source = Some(text()?),
            "target" | "destination" | "dst" => self.destination = Some(text()?),
            "readonly" | "ro" => self.read_only = flag()?,
            "rw" => self.read_only = !flag()?,
            "bind-propagation" => {
                let word = text()?;
                if !PROPAGATIONS.contains(&word.as_str()) {
                    return Err(format!("{key} is one of {}", PROPAGATIONS.join(", ")));
                }
                self.propagation = Some(word);
            }
            "bind-nonrecursive" => {
                self.recursion = match flag()? {
                    true => Recursion::Disabled,
                    false => Recursion::Enabled,
                }
            }
            "bind-recursive" => {
                self.recursion = match text()?.as_str() {
                    "enabled" => Recursion::Enabled,
                    "disabled" => Recursion::Disabled,
                    "writable" => Recursion::Writable,
                    "readonly" => Recursion::ReadOnly,
                    _ => return Err(format!("{key} is enabled, disabled, writable or readonly")),
                }
            }
            "tmpfs-size" => {
                let bytes = size(&text()?).ok_or(format!("{key} is a size such as 64m"))?;
                self.options.push(format!("size={bytes}"));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(&text()?, 8).ok();
                let mode = mode.filter(|mode| *mode <= 0o7777);
                let mode = mode.ok_or(format!("{key} is an octal number such as 1777"))?;
                self.options.push(format!("mode={mode:o}"));
            }
            "nosuid" | "nodev" | "noexec" | "exec" if value.is_none() => {
                self.options.push(key.to_owned())
            }
            // For macOS and SELinux only.
            "consistency" | "relabel" => drop(text()?),
            _ if key.starts_with("volume-") || key.starts_with("image-") => {
                return Err(format!(
                    "{key} is for volumes and images by name; box mounts files, directories and tmpfs"
                ));
            }
            _ if key != key.trim() => return Err(format!("{key:?} begins or ends with a space")),
            _ => return Err(format!("unknown key {key:?}")),
        }
        Ok(())
    }

    fn volume(self, base: &Path) -> Result<Volume, String> {
        let kind = self.kind.as_deref().unwrap_or("bind");
        if !matches!(kind, "bind" | "tmpfs") {
            return Err(format!("unknown type {kind}, expected bind or tmpfs"));
        }
        if let Some((key, only)) = self.only_for.as_ref().filter(|(_, only)| *only != kind) {
            return Err(format!("{key} is for type={only}"));
        }
        let destination = self.destination.as_deref().and_then(absolute);
        let destination = destination.ok_or("an absolute target= below / is missing")?;
        let source = self.source.clone();
        match (kind, source) {
            ("bind", Some(source)) => Ok(Volume::Bind {
                source: lexical(&base.join(source)),
                destination,
                options: self.bind_options()?,
                create: false,
            }),
            ("bind", None) => Err("source= is missing".to_owned()),
            (_, Some(_)) => Err("a tmpfs has no source".to_owned()),
            (_, None) => {
                let fixed = ["nosuid", "nodev"].into_iter();
                let read_only = self.read_only.then_some("ro");
                let mut options: Vec<String> = fixed.chain(read_only).map(str::to_owned).collect();
                options.extend(self.options);
                Ok(Volume::Tmpfs {
                    destination,
                    options,
                })
            }
        }
    }

    fn bind_options(self) -> Result<Vec<String>, String> {
        let needs_read_only = match self.recursion {
            Recursion::Writable => Some("writable"),
            Recursion::ReadOnly => Some("readonly"),
            _ => None,
        };
        if let Some(word) = needs_read_only.filter(|_| !self.read_only) {
            return Err(format!("bind-recursive={word} goes with readonly"));
        }
        let propagation = self.propagation.as_deref().unwrap_or("rprivate");
        if self.recursion == Recursion::ReadOnly && !propagation.ends_with("private") {
            return Err(super::LATER_MOUNTS.to_owned());
        }
        let recursive = self.recursion != Recursion::Disabled;
        let mut words = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
        if self.read_only {
            let all = recursive && self.recursion != Recursion::Writable;
            words.push(if all { "rro" } else { "ro" }.to_owned());
        }
        words.extend(
            self.options
                .iter()
                .map(|word| super::as_deep_as_it_goes(word, recursive)),
        );
        words.extend(self.propagation);
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(text: &str) -> String {
        let volume = read(text, Path::new("/")).unwrap();
        volume.to_mount().options().clone().unwrap().join(" ")
    }

    #[test]
    fn the_words_of_docker() {
        for (text, expected) in [
            (
                "type=tmpfs,target=/t,tmpfs-size=1m",
                "nosuid nodev size=1048576",
            ),
            (
                "type=tmpfs,dst=/t,tmpfs-mode=0700,ro",
                "nosuid nodev ro mode=700",
            ),
            ("type=bind,src=/a,dst=/b", "rbind"),
            (
                "Type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave",
                "rbind rro rslave",
            ),
            ("src=/a,dst=/b,readonly=true,readonly=false", "rbind"),
            ("src=/a,dst=/b,ro,bind-recursive=writable", "rbind ro"),
            ("src=/a,dst=/b,ro,bind-recursive=readonly", "rbind rro"),
            ("src=/a,dst=/b,ro,bind-recursive=disabled", "bind ro"),
            ("src=/a,dst=/b,bind-nonrecursive,nosuid", "bind nosuid"),
            ("src=/a,dst=/b,nosuid", "rbind rnosuid"),
        ] {
            assert_eq!(options(text), expected, "{text}");
        }
    }

    #[test]
    fn a_quoted_field_holds_commas() {
        let volume = read(r#"type=bind,"source=/a,b:c",target=/x"#, Path::new("/")).unwrap();
        assert!(matches!(volume, Volume::Bind { source, .. } if source == Path::new("/a,b:c")));
    }

    #[test]
    fn refusals_name_the_key() {
        for (text, reason) in [
            ("", "unknown key"),
            ("type=bind,target=/b", "source="),
            ("type=proc,target=/b", "unknown type proc"),
            ("type=tmpfs,src=/a,dst=/b", "no source"),
            ("src=/a,dst=/b,ro=x", "ro is true or false"),
            ("src=/a,dst=/b,wat=1", "\"wat\""),
            ("src=/a,dst=/b, ro", "\" ro\""),
            ("src=,dst=/b", "src needs a value"),
            ("src=/a,dst=b", "target="),
            ("src=/a,dst=/b,volume-opt=a=b", "volume-opt"),
            (
                "src=/a,dst=/b,tmpfs-size=1m",
                "tmpfs-size is for type=tmpfs",
            ),
            (
                "type=tmpfs,dst=/b,bind-propagation=rslave",
                "is for type=bind",
            ),
            ("type=tmpfs,dst=/b,tmpfs-size=1x", "tmpfs-size"),
            ("type=tmpfs,dst=/b,tmpfs-mode=9", "tmpfs-mode"),
            ("src=/a,dst=/b,bind-propagation=all", "bind-propagation"),
            (
                "src=/a,dst=/b,bind-recursive=readonly",
                "goes with readonly",
            ),
            (
                "src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rslave",
                "later",
            ),
            ("src=\"/a\",dst=/b", "quotation mark"),
        ] {
            let refusal = read(text, Path::new("/")).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }
}
