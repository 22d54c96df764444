//! PAX records: `length key=value\n`, each overriding a field of the header that follows.

use std::collections::HashSet;

use box_cache::{PaxRecord, pax_number, pax_records};

use super::header::id;
use super::sparse::SparseRecords;
use super::{Problem, Time, Xattr, acl, xattr};

/// The most extended attributes of one entry, and the most bytes of their names and values: more than most file systems keep for one
/// file.
const XATTRS: usize = 256;
const XATTR_BYTES: usize = 1 << 20;

/// The fields of the next member from extended headers. Missing ones are taken from the plain header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) sparse: Option<SparseRecords>,
    pub(super) xattrs: Vec<Xattr>,
}

impl Records {
    /// Adds the records of a local extended header (type `x`); a later record of the same key wins.
    pub fn local(&mut self, text: &[u8]) -> Result<(), Problem> {
        let twins = Twins::of(text);
        for record in records(text) {
            let (key, value) = record?;
            if !twins.has(key, value) {
                self.record(key, value)?;
            }
        }
        self.check_xattrs()
    }

    /// Adds the records of a global extended header (type `g`). Records that name or measure one member are refused there.
    pub fn global(&mut self, text: &[u8]) -> Result<(), Problem> {
        let twins = Twins::of(text);
        for record in records(text) {
            let (key, value) = record?;
            if twins.has(key, value) {
                continue;
            }
            let for_one =
                matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.");
            if for_one {
                return Err(Problem::GlobalKey(key.to_vec()));
            }
            self.record(key, value)?;
        }
        self.check_xattrs()
    }

    /// The member's name, if the records have one. A sparse file's real name is preferred to its placeholder.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        let sparse = self
            .sparse
            .as_ref()
            .and_then(|sparse| sparse.name.as_deref());
        sparse.or(self.path.as_deref())
    }

    /// Whether no field is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Records::default()
    }

    /// Unknown keys (comments, vendors' extensions, times that are not kept) are ignored, as POSIX requires.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        if let Some(name) = key.strip_prefix(SCHILY) {
            return self.xattr(&xattr::decode_keyword(name), value);
        }
        if let Some(name) = key.strip_prefix(LIBARCHIVE) {
            return self.xattr(
                &xattr::decode_name(name)?,
                &xattr::decode_value(name, value)?,
            );
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.get_or_insert_default().record(key, value);
        }
        // An empty value cancels an earlier record.
        let said = !value.is_empty();
        match key {
            b"path" => self.path = said.then(|| value.to_vec()),
            b"linkpath" => self.link_path = said.then(|| value.to_vec()),
            b"size" => self.size = said.then(|| unsigned(value, "size")).transpose()?,
            b"uid" => self.uid = said.then(|| owner(value, "owner")).transpose()?,
            b"gid" => self.gid = said.then(|| owner(value, "group")).transpose()?,
            b"mtime" => self.mtime = said.then(|| time(value)).transpose()?,
            b"SCHILY.devmajor" => {
                self.major = said
                    .then(|| unsigned(value, "major device number"))
                    .transpose()?
            }
            b"SCHILY.devminor" => {
                self.minor = said
                    .then(|| unsigned(value, "minor device number"))
                    .transpose()?
            }
            b"SCHILY.acl.access" if said => {
                self.xattr(b"system.posix_acl_access", &acl::posix_acl(value)?)?
            }
            b"SCHILY.acl.default" if said => {
                self.xattr(b"system.posix_acl_default", &acl::posix_acl(value)?)?
            }
            _ => {}
        }
        Ok(())
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), Problem> {
        if !xattr::admit(name, value)? {
            tracing::debug!(name = %name.escape_ascii(), "extended attribute skipped: it belongs to the host's policy");
            return Ok(());
        }
        match self.xattrs.iter_mut().find(|known| known.name == name) {
            Some(known) => known.value = value.to_vec(),
            None => self.xattrs.push(Xattr {
                name: name.to_vec(),
                value: value.to_vec(),
            }),
        }
        match self.xattrs.len() > XATTRS {
            true => Err(Problem::ManyXattrs(XATTRS, XATTR_BYTES)),
            false => Ok(()),
        }
    }

    /// The length of one header is limited. This limits the sum of several.
    fn check_xattrs(&self) -> Result<(), Problem> {
        match xattr::bytes(&self.xattrs) > XATTR_BYTES as u64 {
            true => Err(Problem::ManyXattrs(XATTRS, XATTR_BYTES)),
            false => Ok(()),
        }
    }
}

/// Keys of extended attributes; the attribute's name follows.
const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

/// The attributes in one header that libarchive writes twice.
///
/// It writes each attribute under its own key, in an unambiguous encoding, and under SCHILY's with the plain value. There, the name is
/// in libarchive's encoding or plain, depending on its version. A reader of GNU tar's encoding misreads such a name with `=`, `%` or
/// bytes beyond ASCII, and would set an attribute that the file does not have.
struct Twins(HashSet<Vec<u8>>);

impl Twins {
    fn of(text: &[u8]) -> Twins {
        let records = records(text).map_while(Result::ok);
        let spelled = records.filter_map(|(key, value)| {
            let encoded = key.strip_prefix(LIBARCHIVE)?;
            // A malformed one is refused when it is read.
            let name = xattr::decode_name(encoded).ok()?;
            let value = xattr::decode_value(&name, value).ok()?;
            Some([joined(encoded, &value), joined(&name, &value)])
        });
        Twins(spelled.flatten().collect())
    }

    fn has(&self, key: &[u8], value: &[u8]) -> bool {
        let name = key.strip_prefix(SCHILY).filter(|_| !self.0.is_empty());
        name.is_some_and(|name| self.0.contains(&joined(name, value)))
    }
}

/// A record's text after its prefix. The name may contain a `=`, so its end is unknown.
fn joined(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b"=", value].concat()
}

/// The records of a header, up to the first malformed one.
fn records(text: &[u8]) -> impl Iterator<Item = Result<PaxRecord<'_>, Problem>> {
    pax_records(text).map(|record| record.map_err(Problem::Pax))
}

fn number(value: &[u8], field: &'static str) -> Result<i128, Problem> {
    let malformed = || Problem::Number {
        field,
        text: value.to_vec(),
    };
    let (negative, magnitude) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let magnitude = i128::from(pax_number(magnitude).ok_or_else(malformed)?);
    Ok(if negative { -magnitude } else { magnitude })
}

fn unsigned(value: &[u8], field: &'static str) -> Result<u64, Problem> {
    let number = number(value, field)?;
    if number < 0 {
        return Err(Problem::Negative { field });
    }
    let max = i64::MAX as u64;
    let within = u64::try_from(number).ok().filter(|&n| n <= max);
    within.ok_or(Problem::TooLarge {
        field,
        value: number.unsigned_abs(),
        max,
    })
}

fn owner(value: &[u8], field: &'static str) -> Result<u32, Problem> {
    id(number(value, field)?, field)
}

/// Decimal seconds with an optional fraction, of which nanoseconds are kept.
fn time(value: &[u8]) -> Result<Time, Problem> {
    let malformed = || Problem::Number {
        field: "modification time",
        text: value.to_vec(),
    };
    let (whole, fraction) = match value.iter().position(|&b| b == b'.') {
        Some(point) => (&value[..point], &value[point + 1..]),
        None => (value, &b""[..]),
    };
    let negative = whole.starts_with(b"-");
    let seconds = i64::try_from(number(whole, "modification time")?).map_err(|_| malformed())?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let digit = |index: usize| fraction.get(index).map_or(0, |b| u32::from(b - b'0'));
    let nanos = (0..9).fold(0, |nanos, index| nanos * 10 + digit(index));
    Ok(match nanos {
        nanos if negative && nanos > 0 => Time {
            seconds: seconds.checked_sub(1).ok_or_else(malformed)?,
            nanos: 1_000_000_000 - nanos,
        },
        nanos => Time { seconds, nanos },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let length = (1..)
            .map(|digits| rest + digits)
            .find(|n| n.to_string().len() + rest == *n)
            .unwrap();
        format!("{length} {key}={value}\n").into_bytes()
    }

    fn local(key: &str, value: &str) -> Result<Records, Problem> {
        let mut records = Records::default();
        records.local(&record(key, value)).map(|()| records)
    }

    #[test]
    fn times_have_fractions_on_both_sides_of_1970() {
        for (text, seconds, nanos) in [
            ("0", 0, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("1.5", 1, 500_000_000),
            ("1.0000000019", 1, 1),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("7.", 7, 0),
        ] {
            assert_eq!(
                local("mtime", text).unwrap().mtime,
                Some(Time { seconds, nanos }),
                "{text}"
            );
        }
        for text in ["x", "1.x", ".", "1e5", "--1", "99999999999999999999", "-"] {
            assert!(local("mtime", text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_and_sizes_are_checked() {
        assert_eq!(local("uid", "4294967294").unwrap().uid, Some(4_294_967_294));
        assert!(local("uid", "4294967295").is_err());
        assert!(local("gid", "-1").is_err());
        assert!(local("size", "-1").is_err());
        assert!(local("size", "9223372036854775808").is_err());
    }

    #[test]
    fn malformed_records_are_refused() {
        for text in [
            &b"path=x\n"[..],
            b"9 path=x",
            b"99 path=x\n",
            b"0 \n",
            b"3 \n",
            b"8 pathx\n",
            b"6 =xx\n",
            b"18446744073709551615 path=x\n",
        ] {
            assert!(
                Records::default().local(text).is_err(),
                "{}",
                text.escape_ascii()
            );
        }
    }

    fn xattrs(records: &[(&str, &str)]) -> Result<Vec<(String, String)>, Problem> {
        let text: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v)).collect();
        let mut records = Records::default();
        records.local(&text)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut found: Vec<_> = records
            .xattrs
            .into_iter()
            .map(|xattr| (text(xattr.name), text(xattr.value)))
            .collect();
        found.sort();
        Ok(found)
    }

    #[test]
    fn names_of_attributes_are_read_as_gnu_tar_writes_them() {
        for (key, name) in [
            ("user.a%3Db", "user.a=b"),
            ("user.p%25q", "user.p%q"),
            ("user.x%253Dy", "user.x%3Dy"),
            // What GNU tar does not write it does not decode.
            ("user.p%q%3d%2E%", "user.p%q%3d%2E%"),
            ("user.n\nl", "user.n\nl"),
        ] {
            let found = xattrs(&[(&format!("SCHILY.xattr.{key}"), "c=d")]).unwrap();
            assert_eq!(found, [(name.to_owned(), "c=d".to_owned())], "{key}");
        }
    }

    #[test]
    fn what_libarchive_says_twice_is_one_attribute() {
        let one = [("user.a=%".to_owned(), "c=d".to_owned())];
        let encoded = ("LIBARCHIVE.xattr.user.a%3D%25", "Yz1k");
        // As 3.6 spells it and as it is, in either order.
        for twin in [
            ("SCHILY.xattr.user.a%3D%25", "c=d"),
            ("SCHILY.xattr.user.a=%", "c=d"),
        ] {
            assert_eq!(xattrs(&[encoded, twin]).unwrap(), one, "{twin:?}");
            assert_eq!(xattrs(&[twin, encoded]).unwrap(), one, "{twin:?}");
        }
        // Its own encoding of a byte that GNU tar leaves alone.
        let found = xattrs(&[
            ("LIBARCHIVE.xattr.user.n%0Al", "MQ"),
            ("SCHILY.xattr.user.n%0Al", "1"),
        ]);
        assert_eq!(found.unwrap(), [("user.n\nl".to_owned(), "1".to_owned())]);
        // Another value is another attribute's.
        let found = xattrs(&[
            ("LIBARCHIVE.xattr.user.n%0Al", "MQ"),
            ("SCHILY.xattr.user.n%0Al", "2"),
        ]);
        assert_eq!(found.unwrap().len(), 2);
    }

    #[test]
    fn no_spelling_of_a_steering_attribute_gets_through() {
        for (key, value) in [
            ("SCHILY.xattr.trusted.overlay.a%3Db", "y"),
            ("SCHILY.xattr.user.overlay.%25", "y"),
            ("SCHILY.xattr.user.overlay.opaque=", "y"),
            ("LIBARCHIVE.xattr.%74rusted.overlay%2Eopaque", "eQ"),
            ("LIBARCHIVE.xattr.user%2eoverlay.whiteout", ""),
        ] {
            let refused = xattrs(&[(key, value)]);
            assert!(matches!(refused, Err(Problem::SteeringXattr(_))), "{key}");
            // Nor is one let through as another's twin.
            let twin = xattrs(&[(key, value), ("SCHILY.xattr.user.overlay.opaque", "y")]);
            assert!(twin.is_err(), "{key}");
        }
        // Only the kernel's own spelling is an attribute that steers: these are names like any other, and left out.
        for key in ["trusted%2Eoverlay.opaque", "%74rusted.overlay.opaque"] {
            let found = xattrs(&[(&format!("SCHILY.xattr.{key}"), "y")]).unwrap();
            assert_eq!(found, [], "{key}");
        }
    }

    #[test]
    fn an_empty_value_takes_back_a_global_one() {
        let mut records = Records::default();
        records.global(&record("uid", "5")).unwrap();
        records.local(&record("uid", "")).unwrap();
        assert_eq!(records.uid, None);
    }

    #[test]
    fn a_global_header_cannot_name_a_member() {
        assert!(Records::default().global(&record("path", "x")).is_err());
        assert!(
            Records::default()
                .global(&record("GNU.sparse.name", "x"))
                .is_err()
        );
    }
}
