//! Mount options of the OCI runtime spec, translated for the mount API. Makes no system call.

use std::ffi::CString;

use crate::Error;
use crate::sys::mount::Attributes;

/// The options of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes of the mount itself.
    pub own: Attributes,
    /// Attributes of the mount and all below it (`rro` and the like).
    pub tree: Attributes,
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    /// Parameters of the file system.
    pub data: Vec<(CString, Option<CString>)>,
}

/// An option and the attributes that it sets and clears.
struct Flag(&'static str, u64, u64);

const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

const FLAGS: [Flag; 17] = [
    Flag("ro", libc::MOUNT_ATTR_RDONLY, 0),
    Flag("rw", 0, libc::MOUNT_ATTR_RDONLY),
    Flag("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    Flag("suid", 0, libc::MOUNT_ATTR_NOSUID),
    Flag("nodev", libc::MOUNT_ATTR_NODEV, 0),
    Flag("dev", 0, libc::MOUNT_ATTR_NODEV),
    Flag("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    Flag("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    Flag("relatime", libc::MOUNT_ATTR_RELATIME, ATIME),
    Flag("norelatime", libc::MOUNT_ATTR_STRICTATIME, ATIME),
    Flag("noatime", libc::MOUNT_ATTR_NOATIME, ATIME),
    Flag("atime", 0, ATIME),
    Flag("strictatime", libc::MOUNT_ATTR_STRICTATIME, ATIME),
    Flag("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    Flag("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    Flag("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    Flag("symfollow", 0, libc::MOUNT_ATTR_NOSYMFOLLOW),
];

const PROPAGATIONS: [(&str, u64); 4] = [
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

impl MountOptions {
    /// Reads the options of the mount on `destination`; a later option wins over an earlier one.
    pub fn parse(destination: &str, options: &[String]) -> Result<Self, Error> {
        let mut out = Self::default();
        for option in options {
            out.add(destination, option)?;
        }
        Ok(out)
    }

    fn add(&mut self, destination: &str, option: &str) -> Result<(), Error> {
        let recursive = option.strip_prefix('r');
        if let Some(flag) = FLAGS.iter().find(|flag| flag.0 == option) {
            merge(&mut self.own, flag);
        } else if let Some(flag) = FLAGS.iter().find(|flag| Some(flag.0) == recursive) {
            merge(&mut self.tree, flag);
        } else if let Some((_, kind)) = PROPAGATIONS.iter().find(|(name, _)| *name == option) {
            (self.own.propagation, self.tree.propagation) = (*kind, 0);
        } else if let Some((_, kind)) = PROPAGATIONS
            .iter()
            .find(|(name, _)| Some(*name) == recursive)
        {
            (self.own.propagation, self.tree.propagation) = (0, *kind);
        } else {
            match option {
                "bind" => self.bind = Some(false),
                "rbind" => self.bind = Some(true),
                "defaults" | "" => {}
                "idmap" | "ridmap" | "tmpcopyup" => {
                    return Err(Error::spec(
                        format!("mount on {destination}"),
                        format!("option {option} is not supported"),
                    ));
                }
                _ => self.add_data(destination, option)?,
            }
        }
        Ok(())
    }

    fn add_data(&mut self, destination: &str, option: &str) -> Result<(), Error> {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option, None),
        };
        let text = |text: &str| {
            CString::new(text).map_err(|_| {
                Error::spec(
                    format!("mount on {destination}"),
                    "an option holds a zero byte",
                )
            })
        };
        self.data.push((text(key)?, value.map(text).transpose()?));
        Ok(())
    }

    /// The `MOUNT_ATTR_*` of a new file system, which is a tree of one mount.
    pub fn of_new(&self) -> u32 {
        (self.own.set & !self.tree.clear | self.tree.set) as u32
    }

    /// Whether the mount will be read-only.
    pub fn is_read_only(&self) -> bool {
        (self.own.set | self.tree.set) & libc::MOUNT_ATTR_RDONLY != 0
    }
}

fn merge(attributes: &mut Attributes, Flag(_, set, clear): &Flag) {
    // The field of access-time modes must be cleared before one is set, mount_setattr(2).
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !(set & !ATIME) | clear;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        MountOptions::parse("/x", &options).unwrap()
    }

    #[test]
    fn flags_propagation_and_data() {
        let options = parse(&[
            "rbind",
            "nosuid",
            "rro",
            "rslave",
            "mode=755",
            "newinstance",
        ]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(
            options.own,
            Attributes {
                set: libc::MOUNT_ATTR_NOSUID,
                ..Attributes::default()
            }
        );
        assert_eq!(options.tree.set, libc::MOUNT_ATTR_RDONLY);
        assert_eq!(options.tree.propagation, libc::MS_SLAVE);
        assert_eq!(
            options.data,
            [
                (c"mode".to_owned(), Some(c"755".to_owned())),
                (c"newinstance".to_owned(), None)
            ]
        );
    }

    #[test]
    fn the_later_one_wins() {
        assert_eq!(
            parse(&["ro", "rw"]).own,
            Attributes {
                clear: libc::MOUNT_ATTR_RDONLY,
                ..Attributes::default()
            }
        );
        assert!(parse(&["rw", "ro"]).is_read_only());
        let own = parse(&["strictatime", "noatime"]).own;
        assert_eq!((own.set, own.clear), (libc::MOUNT_ATTR_NOATIME, ATIME));
        let both = parse(&["rprivate", "shared"]);
        assert_eq!(
            (both.own.propagation, both.tree.propagation),
            (libc::MS_SHARED, 0)
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for option in ["idmap", "a\0b"] {
            assert!(
                MountOptions::parse("/x", &[option.to_owned()]).is_err(),
                "{option:?}"
            );
        }
    }
}
