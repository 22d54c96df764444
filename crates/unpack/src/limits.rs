//! Limits on what one archive may use.

use std::fmt;
use std::str::FromStr;

/// Decoded bytes before the compression ratio is checked: small archives of zeros are harmless and common.
pub const RATIO_GRACE: u64 = 128 << 20;

/// Limits on one archive. Exceeding one is an error that names the entry and the limit.
///
/// ```
/// use box_unpack::Limits;
/// let mut limits = Limits::default();
/// limits.set("entries=500".parse().unwrap());
/// assert_eq!(limits.entries, 500);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed archive, and of all its files together (including holes of sparse files).
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of one path or link target. The kernel's own limit is `PATH_MAX - 1`.
    pub path: u64,
    /// Components of one path.
    pub depth: u64,
    /// Bytes of one extension header (PAX records, GNU long name, sparse map).
    pub header: u64,
    /// Decoded bytes per compressed byte, checked beyond [`RATIO_GRACE`].
    pub ratio: u64,
    /// Bytes of history that a decoder may need (zstd window, xz dictionary).
    pub window: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 128 << 30,
            entries: 2_000_000,
            path: 4095,
            depth: 1024,
            header: 1 << 20,
            ratio: 250,
            // `xz -9`, which many distributions use, needs 64 MiB.
            window: 64 << 20,
        }
    }
}

impl Limits {
    /// Sets one limit, as parsed from `NAME=VALUE`.
    pub fn set(&mut self, setting: Setting) {
        let field = match setting.kind {
            LimitKind::Bytes => &mut self.bytes,
            LimitKind::Entries => &mut self.entries,
            LimitKind::Path => &mut self.path,
            LimitKind::Depth => &mut self.depth,
            LimitKind::Header => &mut self.header,
            LimitKind::Ratio => &mut self.ratio,
            LimitKind::Window => &mut self.window,
        };
        *field = setting.value;
    }
}

/// One of the [`Limits`]. Displays as its name in a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the field of the same name in `Limits`.
pub enum LimitKind {
    Bytes,
    Entries,
    Path,
    Depth,
    Header,
    Ratio,
    Window,
}

const NAMES: [(LimitKind, &str); 7] = [
    (LimitKind::Bytes, "bytes"),
    (LimitKind::Entries, "entries"),
    (LimitKind::Path, "path"),
    (LimitKind::Depth, "depth"),
    (LimitKind::Header, "header"),
    (LimitKind::Ratio, "ratio"),
    (LimitKind::Window, "window"),
];

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES
            .iter()
            .find(|(kind, _)| kind == self)
            .map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// A limit as `NAME=VALUE`. VALUE is a whole number with an optional suffix K, M, G or T (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    kind: LimitKind,
    value: u64,
}

/// Why a text is not a [`Setting`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No `=`, or an unknown name before it.
    #[error(
        "{0:?} is not a limit, expected NAME=VALUE with NAME one of bytes, entries, path, depth, header, ratio, window"
    )]
    Name(String),
    /// The value is not a number, is zero, or is too large.
    #[error(
        "limit {0}: {1:?} is not a whole number above zero with an optional suffix K, M, G or T"
    )]
    Value(LimitKind, String),
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Setting, SettingError> {
        let unknown = || SettingError::Name(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(unknown)?;
        let (kind, _) = *NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .ok_or_else(unknown)?;
        let number = parse_scaled(value).filter(|&number| number > 0);
        let value = number.ok_or_else(|| SettingError::Value(kind, value.to_owned()))?;
        Ok(Setting { kind, value })
    }
}

fn parse_scaled(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()? {
        b'K' | b'k' => 10,
        b'M' | b'm' => 20,
        b'G' | b'g' => 30,
        b'T' | b't' => 40,
        _ => 0,
    };
    let digits = if shift == 0 {
        text
    } else {
        &text[..text.len() - 1]
    };
    let number: u64 = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_parse_with_suffixes() {
        let mut limits = Limits::default();
        limits.set("bytes=2G".parse().unwrap());
        limits.set("ratio=10".parse().unwrap());
        assert_eq!((limits.bytes, limits.ratio), (2 << 30, 10));
    }

    #[test]
    fn nonsense_settings_are_refused() {
        for text in [
            "",
            "bytes",
            "size=1",
            "bytes=",
            "bytes=0",
            "bytes=-1",
            "bytes=1X",
            "bytes=K",
            "bytes=99999999999T",
            "bytes=+1",
        ] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}
