//! Prints results on stdout: tables for people, JSON for programs. If stdout is closed, box exits silently.

pub mod listing;
pub mod table;

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use crate::report::{Failure, cause, is_unprintable, printable};

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Text or a table, for people.
    #[default]
    Table,
    /// JSON, for programs; docs/cli.md describes the fields.
    Json,
}

/// Prints text unchanged.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::silent(0),
            _ => Failure::new(format!("cannot write to stdout: {}", cause(&error))),
        })
}

/// Prints one line, made safe for a terminal.
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{}\n", printable(line)))
}

/// Prints lines, each made safe for a terminal.
pub fn lines(lines: &str) -> Result<(), Failure> {
    text(
        &lines
            .lines()
            .fold(String::new(), |text, line| text + &printable(line) + "\n"),
    )
}

/// Prints a value as indented JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    text(&document(value)?)
}

/// A value as indented JSON. Characters that a terminal would act on are written as `\uXXXX`, which programs read as the same.
pub fn document(value: &impl Serialize) -> Result<String, Failure> {
    let document = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write the result as JSON: {error}")))?;
    Ok(escaped(&document) + "\n")
}

/// Escapes all unprintable characters of a JSON document except line breaks. They occur only inside strings: the rest of JSON is
/// ASCII without control characters.
pub fn escaped(document: &str) -> String {
    let mut out = String::with_capacity(document.len() + 1);
    for c in document.chars() {
        if c == '\n' || !is_unprintable(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// Prints rows under their headings, each column as wide as its widest cell.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let cells = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable(cell)));
    let rows: Vec<[String; N]> = [headings.map(str::to_owned)]
        .into_iter()
        .chain(cells)
        .collect();
    text(&table::lines(&rows, &table::widths(&rows)))
}

/// A size for people, as disks and downloads are measured, in powers of ten: `3.5 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A size of memory for people, in powers of two: `3.5 MiB`.
pub fn binary_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// The first twelve digits of a digest, which people compare.
pub fn short_digest(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

/// The time since a moment for people: `2 hours ago`. Both arguments are in seconds since 1970.
pub fn ago(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then);
    let (count, unit) = match seconds {
        0..=59 => (seconds, "second"),
        60..=3_599 => (seconds / 60, "minute"),
        3_600..=86_399 => (seconds / 3_600, "hour"),
        86_400..=2_591_999 => (seconds / 86_400, "day"),
        2_592_000..=31_535_999 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// A moment, in seconds since 1970, as RFC 3339 writes it in UTC: `2024-09-06T11:34:16Z`.
pub fn rfc3339(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().map(Timestamp::from_second);
    moment
        .and_then(Result::ok)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// The time in seconds since 1970; 0 if the clock is before that.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(3_490_290), "3.5 MB");
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!(size(u64::MAX), "18446.7 PB");
    }

    #[test]
    fn memory_is_printed_in_powers_of_two() {
        assert_eq!(binary_size(1023), "1023 B");
        assert_eq!(binary_size(64 << 20), "64.0 MiB");
        assert_eq!(binary_size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(binary_size(3 << 29), "1.5 GiB");
    }

    #[test]
    fn dates_are_exact() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_725_622_456), "2024-09-06T11:34:16Z");
        assert_eq!(rfc3339(4_107_542_399), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn json_holds_nothing_that_a_terminal_acts_on() {
        let hostile = "a\u{9b}31m\x1b[2J\x7f\u{61c}\u{200f}\u{202e}\u{2066}\u{feff}\u{e0041}\u{85}\n\t\"\\ü🦀";
        let value = serde_json::json!({ hostile: [hostile] });
        let document = escaped(&serde_json::to_string_pretty(&value).unwrap_or_default());
        assert!(
            document.chars().all(|c| c == '\n' || !is_unprintable(c)),
            "{document:?}"
        );
        assert!(
            document.contains("\\u009b31m\\u001b[2J\\u007f\\u061c") && document.contains("ü🦀"),
            "{document}"
        );
        assert!(document.contains("\\udb40\\udc41"), "{document}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&document).ok(),
            Some(value)
        );
    }

    #[test]
    fn times_read_well() {
        assert_eq!(ago(100, 101), "1 second ago");
        assert_eq!(ago(0, 7_200), "2 hours ago");
        assert_eq!(ago(200, 100), "0 seconds ago");
    }
}
