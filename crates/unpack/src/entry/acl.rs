//! POSIX access control lists: from the text that archives carry (`acl(5)`) to the attribute the kernel takes.

use super::Problem;

/// `ACL_EA_VERSION` and the tags of `linux/posix_acl_xattr.h`.
const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// Encodes a list such as `user::rwx,user:1000:r--,group::r-x,mask::rwx,other::r--` as the value of `system.posix_acl_access`.
/// Users and groups must be numbers, which may be in star's fourth field (`user:joe:rwx:1000`). A name alone is refused, as its
/// meaning on this machine would be accidental.
pub fn posix_acl(text: &[u8]) -> Result<Vec<u8>, Problem> {
    let refused = |reason| Problem::Acl {
        text: text.to_vec(),
        reason,
    };
    let mut entries = Vec::new();
    for line in text.split(|&b| b == b',' || b == b'\n') {
        let line = line
            .split(|&b| b == b'#')
            .next()
            .unwrap_or(line)
            .trim_ascii();
        if line.is_empty() {
            continue;
        }
        entries.push(parse_entry(line).map_err(refused)?);
    }
    // The kernel expects them ordered by tag, then by id.
    entries.sort_unstable();
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}

/// Whether a value is well-formed: a version, followed by entries of eight bytes.
pub(super) fn is_well_formed(value: &[u8]) -> bool {
    value.starts_with(&VERSION.to_le_bytes()) && value.len() % 8 == 4
}

/// One entry as (tag, id, permissions).
fn parse_entry(line: &[u8]) -> Result<(u16, u32, u16), &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not text")?;
    let mut fields = line.split(':').map(str::trim);
    let (kind, qualifier, bits) = match (fields.next(), fields.next(), fields.next()) {
        (Some(kind), Some(qualifier), Some(bits)) => (kind, qualifier, bits),
        // Old star wrote `other:r--` and `mask:r--`.
        (Some(kind @ ("mask" | "m" | "other" | "o")), Some(bits), None) => (kind, "", bits),
        _ => return Err("an entry does not have three fields"),
    };
    let star_id = fields.next();
    let mut permissions = 0;
    for letter in bits.chars() {
        permissions |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return Err("permissions are not letters r, w, x and -"),
        };
    }
    let tag = match (kind, qualifier.is_empty()) {
        ("user" | "u", true) => USER_OBJ,
        ("user" | "u", false) => USER,
        ("group" | "g", true) => GROUP_OBJ,
        ("group" | "g", false) => GROUP,
        ("mask" | "m", true) => MASK,
        ("other" | "o", true) => OTHER,
        _ => return Err("an entry is neither user, group, mask nor other"),
    };
    let id = match tag {
        USER | GROUP => {
            let number = star_id
                .and_then(|id| id.parse().ok())
                .or_else(|| qualifier.parse().ok());
            number
                .filter(|&id| id != NO_ID)
                .ok_or("a user or group is not a number")?
        }
        _ => NO_ID,
    };
    Ok((tag, id, permissions))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_are_encoded_in_the_kernels_order() {
        let value = posix_acl(b"other::r--,user::rwx,user:1000:r-x,group::r-x,mask::r-x").unwrap();
        let entries: Vec<(u8, u8, u32)> = value[4..]
            .chunks(8)
            .map(|e| (e[0], e[2], u32::from_le_bytes(e[4..].try_into().unwrap())))
            .collect();
        assert_eq!(value[..4], [2, 0, 0, 0]);
        assert_eq!(
            entries,
            [
                (1, 7, NO_ID),
                (2, 5, 1000),
                (4, 5, NO_ID),
                (0x10, 5, NO_ID),
                (0x20, 4, NO_ID)
            ]
        );
    }

    #[test]
    fn stars_numbers_beat_names() {
        assert_eq!(
            posix_acl(b"user:joe:rwx:7").unwrap(),
            posix_acl(b"user:7:rwx").unwrap()
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for text in [
            "user:joe:rwx",
            "user::rwz",
            "user",
            "users::rwx",
            "user:-1:rwx",
            "user:4294967295:r--",
        ] {
            assert!(posix_acl(text.as_bytes()).is_err(), "{text}");
        }
    }
}
