//! Which extended attributes an archive may set, and how GNU tar and libarchive encode them.

use super::{Problem, Xattr, acl};

/// `XATTR_NAME_MAX` and `XATTR_SIZE_MAX` of Linux.
const NAME_MAX: usize = 255;
const SIZE_MAX: usize = 65536;

/// Attributes that make overlay file systems (the kernel's, with and without `userxattr`, and the FUSE one) and container stores
/// hide, redirect or reown files. An archive may not set them.
const STEERING: [&[u8]; 5] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
    b"user.containers.override_",
    b"trusted.containers.override_",
];

/// The size of attributes: names and values.
pub(crate) fn bytes(xattrs: &[Xattr]) -> u64 {
    let one = |xattr: &Xattr| (xattr.name.len() + xattr.value.len()) as u64;
    xattrs.iter().map(one).sum()
}

/// Whether to set an attribute. Labels of the host's security modules (SELinux, Smack, AppArmor, IMA, EVM) and file-system internals
/// are left out: they mean nothing, or the wrong thing, on another machine.
pub(super) fn admit(name: &[u8], value: &[u8]) -> Result<bool, Problem> {
    let refused = |reason| {
        Err(Problem::Xattr {
            name: name.to_vec(),
            reason,
        })
    };
    if STEERING.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Problem::SteeringXattr(name.to_vec()));
    }
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return refused("the kernel does not accept this name");
    }
    if value.len() > SIZE_MAX {
        return refused("its value is longer than 65536 bytes");
    }
    if name.starts_with(b"system.posix_acl_") && !acl::is_well_formed(value) {
        return refused("its value is malformed");
    }
    let known = [
        &b"security.capability"[..],
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    Ok(known.contains(&name)
        || name
            .strip_prefix(b"user.")
            .is_some_and(|rest| !rest.is_empty()))
}

/// GNU tar writes `=` as `%3D`, because a key ends at the first one, and therefore `%` as `%25`, and nothing else (xheader.c,
/// `xattr_encode_keyword`). Go's archive/tar encodes nothing and refuses names with `=`.
pub(super) fn decode_keyword(text: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let (byte, behind) = match rest {
            [b'%', b'3', b'D', behind @ ..] => (b'=', behind),
            [b'%', b'2', b'5', behind @ ..] => (b'%', behind),
            _ => (*first, others),
        };
        name.push(byte);
        rest = behind;
    }
    name
}

/// libarchive writes names with `%XX` for unusual bytes.
pub(super) fn decode_name(text: &[u8]) -> Result<Vec<u8>, Problem> {
    let malformed = || Problem::Xattr {
        name: text.to_vec(),
        reason: "the percent-encoding of its name is malformed",
    };
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let mut nibble = || {
            bytes
                .next()
                .and_then(|&b| char::from(b).to_digit(16))
                .ok_or_else(malformed)
        };
        let (high, low) = (nibble()?, nibble()?);
        name.push((high * 16 + low) as u8);
    }
    Ok(name)
}

/// libarchive writes values in base64 without padding.
pub(super) fn decode_value(name: &[u8], text: &[u8]) -> Result<Vec<u8>, Problem> {
    let malformed = || Problem::Xattr {
        name: name.to_vec(),
        reason: "its value is not base64",
    };
    let text = text
        .strip_suffix(b"==")
        .or(text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut value = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for &byte in group {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(malformed()),
            };
            bits = bits << 6 | u32::from(digit);
        }
        bits <<= 6 * (4 - group.len());
        let count = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return Err(malformed()),
        };
        value.extend_from_slice(&bits.to_be_bytes()[1..=count]);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn attributes_are_kept_left_out_or_refused() {
        for name in ["user.a", "user.mime_type", "security.capability"] {
            assert_eq!(admit(name.as_bytes(), b""), Ok(true), "{name}");
        }
        for name in [
            "security.selinux",
            "security.ima",
            "security.evm",
            "security.SMACK64",
            "trusted.x",
            "system.nfs4_acl",
            "btrfs.compression",
            "user.",
            "x",
        ] {
            assert_eq!(admit(name.as_bytes(), b""), Ok(false), "{name}");
        }
        for name in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "trusted.overlay.overlay.opaque",
            "user.overlay.opaque",
            "user.overlay.whiteout",
            "user.fuseoverlayfs.opaque",
            "user.containers.override_stat",
        ] {
            assert!(
                matches!(admit(name.as_bytes(), b""), Err(Problem::SteeringXattr(_))),
                "{name}"
            );
        }
        assert!(admit(b"user.\0", b"").is_err());
        assert!(admit(b"user.x", &vec![0; SIZE_MAX + 1]).is_err());
    }

    #[test]
    fn libarchive_encodings_are_read() {
        assert_eq!(decode_name(b"user.a%3Db%25").unwrap(), b"user.a=b%");
        assert!(decode_name(b"user.%4").is_err());
        for (text, value) in [
            ("", ""),
            ("Zg", "f"),
            ("Zm8", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
        ] {
            assert_eq!(
                decode_value(b"user.x", text.as_bytes()).unwrap(),
                value.as_bytes()
            );
        }
        assert!(decode_value(b"user.x", b"Z").is_err());
        assert!(decode_value(b"user.x", b"Zm9!").is_err());
    }
}
