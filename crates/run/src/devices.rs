//! Devices: the nodes that every container has, and the rules about which ones it may use.

pub(crate) mod nodes;
pub(crate) mod null;

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::Error;

/// A character device that every container has below `/dev`, mode 0666.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name below `/dev`.
    pub name: &'static str,
    /// The number of its driver.
    pub major: u32,
    /// Its number within the driver.
    pub minor: u32,
}

/// The default devices of the OCI runtime specification (config-linux.md) that are nodes; `console` is bound to the
/// container's terminal, `ptmx` a link into its own devpts.
pub const DEFAULT_NODES: [Node; 6] = [
    Node {
        name: "null",
        major: 1,
        minor: 3,
    },
    Node {
        name: "zero",
        major: 1,
        minor: 5,
    },
    Node {
        name: "full",
        major: 1,
        minor: 7,
    },
    Node {
        name: "random",
        major: 1,
        minor: 8,
    },
    Node {
        name: "urandom",
        major: 1,
        minor: 9,
    },
    Node {
        name: "tty",
        major: 5,
        minor: 0,
    },
];

/// The symbolic links in `/dev`: name and target.
pub const DEFAULT_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The container's terminals: `ptmx`, and everything in its devpts.
const TERMINALS: [(u32, Option<u32>); 2] = [(5, Some(2)), (136, None)];

/// The devices that a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// All devices of both kinds.
    All,
    /// Character devices.
    Character,
    /// Block devices.
    Block,
}

/// Kinds of access to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Open it for reading.
    pub read: bool,
    /// Open it for writing.
    pub write: bool,
    /// Make a node for it.
    pub mknod: bool,
}

/// A rule. Of several that match, the last decides. The display form is that of the v1 devices controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Which devices.
    pub kind: DeviceKind,
    /// The driver; `None` for all.
    pub major: Option<u32>,
    /// The device; `None` for all of the driver.
    pub minor: Option<u32>,
    /// The access that is allowed or denied.
    pub access: Access,
}

/// All rules of a container: everything is denied, then come the rules of its spec, then the nodes that every container has are
/// allowed.
///
/// runc and docker allow every node to be made, because opening it is denied. That is not done here: a node made on a volume works
/// outside the container, where a user of the host may open it.
pub fn rules(own: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Error> {
    let mut rules = vec![Rule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        access: Access::ALL,
    }];
    for rule in own {
        rules.extend(from_oci(rule)?);
    }
    let nodes = DEFAULT_NODES
        .iter()
        .map(|node| (node.major, Some(node.minor)));
    rules.extend(nodes.chain(TERMINALS).map(|(major, minor)| Rule {
        allow: true,
        kind: DeviceKind::Character,
        major: Some(major),
        minor,
        access: Access::ALL,
    }));
    Ok(rules)
}

/// The path of a device's node on the host, by the kernel's own name for it below `/dev` (devtmpfs).
pub fn host_node(kind: DeviceKind, major: u32, minor: u32) -> Option<PathBuf> {
    let class = match kind {
        DeviceKind::Block => "block",
        DeviceKind::Character => "char",
        DeviceKind::All => return None,
    };
    let properties =
        std::fs::read_to_string(format!("/sys/dev/{class}/{major}:{minor}/uevent")).ok()?;
    let name = properties
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(Path::new("/dev").join(name))
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        mknod: true,
    };

    fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::ALL);
        }
        if let Some(bad) = text.chars().find(|letter| !"rwm".contains(*letter)) {
            return Err(Error::spec(
                "linux.resources.devices",
                format!("access {text:?} has a {bad:?}, expected r, w and m"),
            ));
        }
        Ok(Self {
            read: text.contains('r'),
            write: text.contains('w'),
            mknod: text.contains('m'),
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => return out.write_str("a"),
            DeviceKind::Character => 'c',
            DeviceKind::Block => 'b',
        };
        let number =
            |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(out, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let Access { read, write, mknod } = self.access;
        for (letter, given) in [('r', read), ('w', write), ('m', mknod)] {
            if given {
                write!(out, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Converts a rule of a spec; two if it applies to both kinds of devices, but not to all of them.
fn from_oci(rule: &LinuxDeviceCgroup) -> Result<Vec<Rule>, Error> {
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| {
            Error::spec(
                "linux.resources.devices",
                format!("device number {number} is out of range"),
            )
        }),
    };
    let (major, minor) = (number(rule.major())?, number(rule.minor())?);
    let access = Access::parse(rule.access().as_deref().unwrap_or_default())?;
    let kinds: &[DeviceKind] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A if major.is_none() && minor.is_none() && access == Access::ALL => {
            &[DeviceKind::All]
        }
        LinuxDeviceType::A => &[DeviceKind::Character, DeviceKind::Block],
        LinuxDeviceType::C | LinuxDeviceType::U => &[DeviceKind::Character],
        LinuxDeviceType::B => &[DeviceKind::Block],
        LinuxDeviceType::P => {
            return Err(Error::spec(
                "linux.resources.devices",
                "type p: a pipe is not a device",
            ));
        }
    };
    Ok(kinds
        .iter()
        .map(|kind| Rule {
            allow: rule.allow(),
            kind: *kind,
            major,
            minor,
            access,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(json: &str) -> Vec<String> {
        let own: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        let word = |rule: &Rule| if rule.allow { "+" } else { "-" };
        rules(&own)
            .unwrap()
            .iter()
            .map(|rule| format!("{}{rule}", word(rule)))
            .collect()
    }

    #[test]
    fn a_plain_container_has_the_default_nodes_and_nothing_else() {
        let expected = [
            "-a",
            "+c 1:3 rwm",
            "+c 1:5 rwm",
            "+c 1:7 rwm",
            "+c 1:8 rwm",
            "+c 1:9 rwm",
            "+c 5:0 rwm",
            "+c 5:2 rwm",
            "+c 136:* rwm",
        ];
        assert_eq!(texts("[]"), expected);
    }

    #[test]
    fn own_rules_stand_between_denial_and_defaults() {
        let rules = texts(
            r#"[{"allow":true,"type":"b","major":8,"access":"r"},{"allow":true,"type":"a","major":10,"minor":229},{"allow":true}]"#,
        );
        assert_eq!(
            rules[..5],
            ["-a", "+b 8:* r", "+c 10:229 rwm", "+b 10:229 rwm", "+a"]
        );
    }

    #[test]
    fn the_host_names_its_devices() {
        assert_eq!(
            host_node(DeviceKind::Character, 1, 11),
            Some("/dev/kmsg".into())
        );
        assert_eq!(host_node(DeviceKind::Character, 1, 200), None);
        assert_eq!(host_node(DeviceKind::All, 1, 11), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            r#"[{"allow":true,"type":"c","access":"x"}]"#,
            r#"[{"allow":true,"type":"p"}]"#,
            r#"[{"allow":true,"type":"c","major":-2}]"#,
            r#"[{"allow":true,"type":"c","major":99999999999}]"#,
        ] {
            let own: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
            assert!(rules(&own).is_err(), "{json}");
        }
    }
}
