//! What one archive may ask of the machine.

use std::fmt;
use std::str::FromStr;

/// Decoded bytes before the compression ratio is judged: small archives of zeros are harmless and common.
pub const RATIO_GRACE: u64 = 128 << 20;

/// Bounds on one archive; exceeding any of them is an error that names the entry and the limit.
///
/// ```
/// use box_unpack::Limits;
/// let mut limits = Limits::default();
/// limits.set("entries=500".parse().unwrap());
/// assert_eq!(limits.entries, 500);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes: of the decoded archive, and of all its files' sizes together (holes of sparse files count).
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of one path or link target; at most the kernel's own `PATH_MAX - 1`.
    pub path: u64,
    /// Components of one path.
    pub depth: u64,
    /// Bytes of one extension header (PAX records, GNU long name, sparse map).
    pub header: u64,
    /// Decoded bytes for each compressed byte, judged past [`RATIO_GRACE`].
    pub ratio: u64,
    /// Bytes of history that a decoder may be asked to keep (zstd window, xz dictionary).
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
            // `xz -9` needs 64 MiB and is what many distributions publish with.
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

/// Names one of the [`Limits`]; displays as the name a person sets it by.
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

/// One `NAME=VALUE`; VALUE is a whole number with an optional suffix K, M, G or T (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    kind: LimitKind,
    value: u64,
}

/// Why a text is no [`Setting`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No `=`, or an unknown name before it.
    #[error(
        "{0:?} sets no limit; expected NAME=VALUE with NAME one of bytes, entries, path, depth, header, ratio, window"
    )]
    Name(String),
    /// The value is no number, zero, or too large.
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
