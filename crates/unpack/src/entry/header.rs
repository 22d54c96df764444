//! The 512-byte tar header.

use super::{EntryPath, Problem, Segment, Time};

/// Size of a header in bytes, and the unit to which content is padded.
pub const BLOCK: usize = 512;

/// A header block with a correct checksum. Fields are read on demand.
#[derive(Clone)]
pub struct Header<'a> {
    block: &'a [u8; BLOCK],
    dialect: Dialect,
}

/// The format of the bytes after the link name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dialect {
    /// Unix version 7: undefined.
    V7,
    /// POSIX: names, device numbers, prefix.
    Ustar,
    /// GNU before POSIX: times and the sparse map, where POSIX has the prefix.
    Gnu,
    /// Schilling's star: like POSIX with a shorter prefix, followed by times.
    Star,
}

/// The type of a header in all supported formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The names say it.
pub enum TypeFlag {
    Regular,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    PaxLocal,
    PaxGlobal,
    GnuLongName,
    GnuLongLink,
    GnuSparse,
    /// A directory with a listing as content (GNU incremental backups).
    GnuDumpDir,
    /// The label of a volume, which is not a file.
    GnuVolume,
}

impl<'a> Header<'a> {
    /// Reads a block that is not all zeros. Refuses a wrong checksum.
    pub fn parse(block: &'a [u8; BLOCK]) -> Result<Header<'a>, Problem> {
        let expected = u64::try_from(number(&block[148..156], "checksum")?).unwrap_or(u64::MAX);
        let rest = || block[..148].iter().chain(&block[156..]);
        let unsigned: u64 = rest().map(|&b| u64::from(b)).sum::<u64>() + 8 * u64::from(b' ');
        // Some old versions of tar summed signed characters.
        let signed: i64 = rest().map(|&b| i64::from(b as i8)).sum::<i64>() + 8 * i64::from(b' ');
        if expected != unsigned && i64::try_from(expected) != Ok(signed) {
            return Err(Problem::Checksum {
                expected,
                actual: unsigned,
            });
        }
        let dialect = match &block[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") && &block[508..512] == b"tar\0" => Dialect::Star,
            magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        };
        Ok(Header { block, dialect })
    }

    /// The type of the header.
    pub fn type_flag(&self) -> Result<TypeFlag, Problem> {
        Ok(match self.block[156] {
            0 | b'0' | b'7' => TypeFlag::Regular,
            b'1' => TypeFlag::HardLink,
            b'2' => TypeFlag::Symlink,
            b'3' => TypeFlag::CharDevice,
            b'4' => TypeFlag::BlockDevice,
            b'5' => TypeFlag::Directory,
            b'6' => TypeFlag::Fifo,
            // Solaris writes X where POSIX has x.
            b'x' | b'X' => TypeFlag::PaxLocal,
            b'g' => TypeFlag::PaxGlobal,
            b'L' => TypeFlag::GnuLongName,
            b'K' => TypeFlag::GnuLongLink,
            b'S' => TypeFlag::GnuSparse,
            b'D' => TypeFlag::GnuDumpDir,
            b'V' => TypeFlag::GnuVolume,
            other => return Err(Problem::Type(other)),
        })
    }

    /// The name, with the POSIX prefix.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => text(&self.block[345..500]),
            Dialect::Star => text(&self.block[345..476]),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        match prefix {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    /// The link's target.
    pub fn link_name(&self) -> &'a [u8] {
        text(&self.block[157..257])
    }

    /// Permissions, without other bits that some writers set.
    pub fn mode(&self) -> Result<u32, Problem> {
        Ok((unsigned(&self.block[100..108], "mode", u64::MAX)? & 0o7777) as u32)
    }

    /// Owner.
    pub fn uid(&self) -> Result<u32, Problem> {
        id(number(&self.block[108..116], "owner")?, "owner")
    }

    /// Group.
    pub fn gid(&self) -> Result<u32, Problem> {
        id(number(&self.block[116..124], "group")?, "group")
    }

    /// Size of the content in bytes.
    pub fn size(&self) -> Result<u64, Problem> {
        unsigned(&self.block[124..136], "size", i64::MAX as u64)
    }

    /// Modification time.
    pub fn mtime(&self) -> Result<Time, Problem> {
        let seconds = number(&self.block[136..148], "modification time")?;
        let seconds = i64::try_from(seconds)
            .map_err(|_| too_large("modification time", seconds, i64::MAX as u64))?;
        Ok(Time { seconds, nanos: 0 })
    }

    /// Major device number; 0 if the format has none.
    pub fn major(&self) -> Result<u64, Problem> {
        match self.dialect {
            Dialect::V7 => Ok(0),
            _ => unsigned(&self.block[329..337], "major device number", u64::MAX),
        }
    }

    /// Minor device number; 0 if the format has none.
    pub fn minor(&self) -> Result<u64, Problem> {
        match self.dialect {
            Dialect::V7 => Ok(0),
            _ => unsigned(&self.block[337..345], "minor device number", u64::MAX),
        }
    }

    /// For [`TypeFlag::GnuSparse`]: the first part of the map, whether extension blocks follow, and the file's real size.
    pub fn gnu_sparse(&self) -> Result<(Vec<Segment>, bool, u64), Problem> {
        let segments = sparse_segments(&self.block[386..482])?;
        let real_size = unsigned(&self.block[483..495], "real size", i64::MAX as u64)?;
        Ok((segments, self.block[482] != 0, real_size))
    }
}

/// The part of the map in an extension block of a GNU sparse file, and whether another block follows.
pub(crate) fn gnu_sparse_extension(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool), Problem> {
    Ok((sparse_segments(&block[..504])?, block[504] != 0))
}

/// Pairs of 12-byte numbers up to the first unused one.
fn sparse_segments(area: &[u8]) -> Result<Vec<Segment>, Problem> {
    let mut segments = Vec::new();
    for pair in area.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = unsigned(&pair[..12], "sparse offset", i64::MAX as u64)?;
        let length = unsigned(&pair[12..], "sparse length", i64::MAX as u64)?;
        segments.push(Segment { offset, length });
    }
    Ok(segments)
}

/// The field's bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A numeric field: octal digits between blanks (no digits are 0), or GNU's base-256 with the first bit set.
fn number(field: &[u8], name: &'static str) -> Result<i128, Problem> {
    if field[0] & 0x80 != 0 {
        return base256(field, name);
    }
    let malformed = || Problem::Number {
        field: name,
        text: text(field).to_vec(),
    };
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0i128, |value, &b| match b {
        b'0'..=b'7' => Ok(value * 8 + i128::from(b - b'0')),
        _ => Err(malformed()),
    })
}

/// Big-endian two's complement. The top bit of the first byte is the marker, its second bit the sign.
fn base256(field: &[u8], name: &'static str) -> Result<i128, Problem> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, &byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        // At most twelve bytes do not overflow 128 bits.
        value = (value << 8) | i128::from(byte);
    }
    if i64::try_from(value).is_err() && value < 0 {
        return Err(Problem::Number {
            field: name,
            text: field.to_vec(),
        });
    }
    Ok(value)
}

fn unsigned(field: &[u8], name: &'static str, max: u64) -> Result<u64, Problem> {
    let value = number(field, name)?;
    if value < 0 {
        return Err(Problem::Negative { field: name });
    }
    u64::try_from(value)
        .ok()
        .filter(|&v| v <= max)
        .ok_or_else(|| too_large(name, value, max))
}

/// A user or group id. `u32::MAX` is refused, as it means "leave as is" to `chown(2)`.
pub(super) fn id(value: i128, field: &'static str) -> Result<u32, Problem> {
    if value < 0 {
        return Err(Problem::Negative { field });
    }
    let max = u32::MAX - 1;
    u32::try_from(value)
        .ok()
        .filter(|&v| v <= max)
        .ok_or_else(|| too_large(field, value, u64::from(max)))
}

fn too_large(field: &'static str, value: i128, max: u64) -> Problem {
    Problem::TooLarge {
        field,
        value: value.unsigned_abs(),
        max,
    }
}

/// The name if it can be read, for errors about the rest of the header.
pub(crate) fn display_name(block: &[u8; BLOCK]) -> Option<Vec<u8>> {
    Header::parse(block)
        .ok()
        .map(|header| header.name())
        .filter(|name| !name.is_empty())
}

/// Device numbers that `mknod(2)` on Linux accepts.
pub(super) fn device(major: u64, minor: u64) -> Result<(u32, u32), Problem> {
    let within = |field, value: u64, max: u32| {
        u32::try_from(value)
            .ok()
            .filter(|&v| v <= max)
            .ok_or(Problem::TooLarge {
                field,
                value: u128::from(value),
                max: u64::from(max),
            })
    };
    Ok((
        within("major device number", major, 0xfff)?,
        within("minor device number", minor, 0xf_ffff)?,
    ))
}

/// Whether a regular file is a directory: its name ends in a slash and it has no content. v7 had no other way.
pub(super) fn names_directory(raw: &[u8], path: &EntryPath, size: u64) -> Result<bool, Problem> {
    if !raw.ends_with(b"/") && !path.is_root() {
        return Ok(false);
    }
    if size > 0 {
        return Err(if path.is_root() {
            Problem::RootNotDirectory
        } else {
            Problem::FileNamedAsDirectory
        });
    }
    Ok(raw.ends_with(b"/"))
}
