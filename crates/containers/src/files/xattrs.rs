//! Extended attributes of files, for archives and copies.
//!
//! Two kinds contain ids: file capabilities of version 3 name the root user of their namespace, and access control lists name users
//! and groups. The kernel translates them, as owners, for the namespace of the reader: box sees the ids of the host (capabilities(7),
//! "Namespaced file capabilities"; acl(5)). They are mapped wherever owners are, by [`Mapping`].

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::ids::Mapping;

/// The largest value, and the largest list of names; xattr(7).
const MOST: usize = 64 << 10;

/// One attribute, with its name as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Xattr {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The attributes at a path that are portable. Attributes that were removed since they were listed are skipped.
pub(crate) fn read(path: &str) -> Result<Vec<Xattr>, Errno> {
    let mut found = vec![];
    for name in names(path)? {
        if !is_portable(&name) {
            continue;
        }
        let mut value = vec![0u8; MOST];
        match rustix::fs::getxattr(path, name.as_slice(), &mut value[..]) {
            Ok(length) => value.truncate(length),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            Err(errno) => return Err(errno),
        }
        found.push(Xattr { name, value });
    }
    Ok(found)
}

/// Copies attributes from one path to another. Attributes that the target's file system does not support are skipped.
pub(crate) fn copy(source: &str, target: &str, mapping: Mapping) -> Result<(), Errno> {
    for mut xattr in read(source)? {
        xattr.map(mapping);
        let set = rustix::fs::setxattr(
            target,
            xattr.name.as_slice(),
            &xattr.value,
            XattrFlags::empty(),
        );
        match set {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The first attribute at a path that controls an overlay or a container store.
pub(crate) fn overlay_control(path: &str) -> Result<Option<Vec<u8>>, Errno> {
    Ok(names(path)?.into_iter().find(|name| controls_overlay(name)))
}

fn names(path: &str) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = vec![0u8; MOST];
    let length = match rustix::fs::listxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let names = names[..length].split(|&byte| byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// Whether an attribute means the same on another file system.
fn is_portable(name: &[u8]) -> bool {
    name == CAPABILITY
        || name.starts_with(ACL)
        || name.starts_with(b"user.") && !controls_overlay(name)
}

/// Whether an attribute that any user may set makes an overlay file system or a container store hide, redirect or reown files.
/// The overlays of box ignore them, those of other tools do not: they are never copied or archived.
fn controls_overlay(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [
        b"user.overlay.",
        b"user.fuseoverlayfs.",
        b"user.containers.override_",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const CAPABILITY: &[u8] = b"security.capability";
const ACL: &[u8] = b"system.posix_acl_";

impl Xattr {
    /// Maps the ids in the value. A malformed value is left as it is.
    pub(crate) fn map(&mut self, mapping: Mapping) {
        let (Mapping::Inside(ids) | Mapping::Outside(ids)) = mapping;
        if ids.range.is_none() {
            return;
        }
        if self.name == CAPABILITY {
            map_capability(&mut self.value, mapping);
        } else if self.name.starts_with(ACL) {
            map_acl(&mut self.value, mapping);
        }
    }

    /// The key of its pax record. A key ends at the first `=`, so GNU tar writes `=` as `%3D` and `%` as `%25`.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = b"SCHILY.xattr.".to_vec();
        for &byte in &self.name {
            match byte {
                b'=' => key.extend_from_slice(b"%3D"),
                b'%' => key.extend_from_slice(b"%25"),
                byte => key.push(byte),
            }
        }
        key
    }
}

/// `struct vfs_ns_cap_data` of linux/capability.h: revision and flags, two pairs of sets, and from revision 3 on the user id of the
/// namespace's root. Revision 2 has none, which means id 0.
fn map_capability(value: &mut Vec<u8>, mapping: Mapping) {
    const SETS: usize = 20;
    let root = match (word(value, 0).map(|word| word >> 24), value.len()) {
        (Some(2), SETS) => 0,
        (Some(3), 24) => word(value, SETS).unwrap_or(0),
        _ => return,
    };
    let root = mapping.id(root);
    value.truncate(SETS);
    // The number is little-endian: the revision is its last byte.
    value[3] = 2;
    if root != 0 {
        value[3] = 3;
        value.extend_from_slice(&root.to_le_bytes());
    }
}

/// linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id. Only entries for named users and groups use the id.
fn map_acl(value: &mut [u8], mapping: Mapping) {
    const VERSION: u32 = 2;
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    if word(value, 0) != Some(VERSION) {
        return;
    }
    for entry in value[4..].chunks_exact_mut(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        if let (USER | GROUP, Some(id)) = (tag, word(entry, 4)) {
            entry[4..].copy_from_slice(&mapping.id(id).to_le_bytes());
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;

    const IDS: Ids = Ids {
        range: Some((200_000, 65_536)),
    };

    fn mapped(name: &str, value: &[u8], mapping: Mapping) -> Vec<u8> {
        let mut xattr = Xattr {
            name: name.as_bytes().to_vec(),
            value: value.to_vec(),
        };
        xattr.map(mapping);
        xattr.value
    }

    fn capability(root: Option<u32>) -> Vec<u8> {
        // The flag "effective", and sets that are not all zeros.
        let mut value = vec![1, 0, 0, if root.is_some() { 3 } else { 2 }];
        value.extend_from_slice(&[0, 0x20, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0]);
        value.extend(root.into_iter().flat_map(u32::to_le_bytes));
        value
    }

    #[test]
    fn capabilities_belong_to_the_containers_root() {
        for (inside, outside) in [
            (None, Some(200_000)),
            (Some(1000), Some(201_000)),
            // Beyond the range, as owners are.
            (Some(65_536), Some(65_536)),
        ] {
            let (inside, outside) = (capability(inside), capability(outside));
            let name = "security.capability";
            assert_eq!(mapped(name, &outside, Mapping::Inside(IDS)), inside);
            assert_eq!(mapped(name, &inside, Mapping::Outside(IDS)), outside);
            for ids in [&inside, &outside] {
                let same = Mapping::Inside(Ids::default());
                assert_eq!(mapped(name, ids, same), *ids);
            }
        }
        // What root 0 of the host has written as revision 3 is the same as revision 2.
        let host = mapped(
            "security.capability",
            &capability(Some(0)),
            Mapping::Outside(IDS),
        );
        assert_eq!(host, capability(Some(200_000)));
        for malformed in [&b""[..], b"\x01\0\0", b"\x01\0\0\x03", &[9; 20], &[3; 30]] {
            let kept = mapped("security.capability", malformed, Mapping::Inside(IDS));
            assert_eq!(kept, malformed);
        }
    }

    #[test]
    fn lists_name_the_containers_users_and_groups() {
        let list = |user: u32, group: u32| {
            let mut value = 2u32.to_le_bytes().to_vec();
            for (tag, permissions, id) in [
                (1u16, 6u16, u32::MAX),
                (2, 7, user),
                (4, 4, u32::MAX),
                (8, 5, group),
                (16, 7, u32::MAX),
                (32, 4, u32::MAX),
            ] {
                value.extend_from_slice(&tag.to_le_bytes());
                value.extend_from_slice(&permissions.to_le_bytes());
                value.extend_from_slice(&id.to_le_bytes());
            }
            value
        };
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            let inside = mapped(name, &list(201_000, 200_007), Mapping::Inside(IDS));
            assert_eq!(inside, list(1000, 7), "{name}");
            assert_eq!(
                mapped(name, &inside, Mapping::Outside(IDS)),
                list(201_000, 200_007)
            );
        }
        let other = mapped("user.x", &list(201_000, 200_007), Mapping::Inside(IDS));
        assert_eq!(other, list(201_000, 200_007));
        for malformed in [
            &b""[..],
            b"\x02\0\0\0\x02\0",
            b"\x03\0\0\0\x02\0\x07\0\0\0\0\0",
        ] {
            let kept = mapped("system.posix_acl_access", malformed, Mapping::Outside(IDS));
            assert_eq!(kept, malformed);
        }
    }

    #[test]
    fn attributes_that_control_overlays_are_not_portable() {
        for name in [
            "user.a",
            "user.overlay",
            "user.containers.x",
            "security.capability",
        ] {
            assert!(is_portable(name.as_bytes()), "{name}");
        }
        for name in [
            "user.overlay.opaque",
            "user.fuseoverlayfs.opaque",
            "user.containers.override_stat",
            "trusted.overlay.opaque",
            "trusted.x",
            "security.selinux",
        ] {
            assert!(!is_portable(name.as_bytes()), "{name}");
        }
    }
}
