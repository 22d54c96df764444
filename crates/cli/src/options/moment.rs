//! Moments in time: a time ago, or a date and time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;

use crate::options::{duration, refused};
use crate::report::Failure;

/// Reads `10m` (ago), `2024-09-06T11:34:16Z`, `2024-09-06`, or seconds since 1970, with or without a fraction. Returns nanoseconds
/// since 1970, of which a u64 holds enough until 2554.
pub fn read(flag: &str, text: &str) -> Result<u64, Failure> {
    let bad = || {
        refused(
            flag,
            text,
            "expected a time ago such as 10m or 1h30m, or a date and time such as 2024-09-06T11:34:16Z",
        )
    };
    if let Some(moment) = seconds(text).or_else(|| date(text)) {
        return Ok(moment);
    }
    if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return Err(bad());
    }
    let ago = duration(flag, text).map_err(|_| bad())?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(nanoseconds(now.saturating_sub(ago)))
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn nanoseconds(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since 1970, with or without a fraction, of which nine digits count.
fn seconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let fraction = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let seconds: u64 = seconds.parse().ok()?;
    Some(seconds.saturating_mul(SECOND).saturating_add(fraction))
}

/// RFC 3339, with or without the time and the zone; without a zone it is UTC.
fn date(text: &str) -> Option<u64> {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let pieces = Pieces::parse(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let time = pieces.time().unwrap_or(Time::midnight());
    let ahead = pieces.to_numeric_offset().map_or(0, |zone| zone.seconds());
    let since = pieces.date().to_datetime(time).duration_since(EPOCH);
    let since = since.checked_sub(SignedDuration::from_secs(ahead.into()))?;
    Some(nanoseconds(Duration::try_from(since).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments() {
        for (text, moment) in [
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000_000),
            ("2024-09-06T11:34:16Z", 1_725_622_456_000_000_000),
            ("2024-09-06T11:34:16.250Z", 1_725_622_456_250_000_000),
            ("2024-09-06T11:34:16.123456789Z", 1_725_622_456_123_456_789),
            ("2024-09-06T13:34:16+02:00", 1_725_622_456_000_000_000),
            ("2024-09-06T11:34", 1_725_622_440_000_000_000),
            ("1725622456", 1_725_622_456_000_000_000),
            ("1725622456.5", 1_725_622_456_500_000_000),
            ("1725622456.0000000019", 1_725_622_456_000_000_001),
            ("2024-09-06 11:34:16", 1_725_622_456_000_000_000),
            ("9999-12-31T23:59:59Z", u64::MAX),
            ("9999-12-31", u64::MAX),
        ] {
            assert_eq!(read("--since", text).unwrap(), moment, "{text}");
        }
        for text in [
            "",
            "x",
            "2024-13-01",
            "2024-02-30",
            "1969-12-31",
            "2024-09-06T11:34:16[Europe/Berlin]",
            "2024-09-06T25:00:00Z",
            "2024-9-6",
            "-5",
            "1y",
            "2024-09-06Tz",
            "2024-09-06T11:34:16.5xZ",
            "1.2.3",
            "1e9",
        ] {
            assert!(read("--since", text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_ago() {
        let now = read("--since", "0s").unwrap();
        for text in ["1.5h", "1h30m", "1h29m60s"] {
            let before = read("--since", text).unwrap();
            assert!(
                (5_390..=5_410).contains(&((now - before) / SECOND)),
                "{text}"
            );
        }
    }
}
