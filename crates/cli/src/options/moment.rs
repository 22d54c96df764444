//! Moments: how long ago, or when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::options::{duration, refused};
use crate::report::Failure;

/// `10m` (ago), `2024-09-06T11:34:16Z`, `2024-09-06`, or seconds since 1970, which may have a fraction. In
/// nanoseconds since 1970, of which there are enough until 2554.
pub fn read(flag: &str, text: &str) -> Result<u64, Failure> {
    let bad = || {
        refused(
            flag,
            text,
            "expected a time ago such as 10m or 1h30m, or a moment such as 2024-09-06T11:34:16Z",
        )
    };
    if let Some(moment) = date(text) {
        return Ok(moment);
    }
    if text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        let ago = duration(flag, text).map_err(|_| bad())?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        return Ok(nanoseconds(now.saturating_sub(ago)));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    match (seconds.parse::<u64>(), billionths(fraction)) {
        (Ok(seconds), Some(fraction)) => {
            Ok(seconds.saturating_mul(SECOND).saturating_add(fraction))
        }
        _ => Err(bad()),
    }
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn nanoseconds(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The digits behind a point of seconds, in nanoseconds; what is finer is left out.
fn billionths(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// RFC 3339, the time and the fraction of a second left out or not.
fn date(text: &str) -> Option<u64> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut parts = day.split('-');
    let mut number = |digits: usize| {
        parts
            .next()
            .filter(|part| part.len() == digits)?
            .parse::<u64>()
            .ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let at = time.find(['Z', '+', '-']);
    let (time, zone) = at.map_or((time, "Z"), |at| time.split_at(at));
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let mut number = || {
        parts
            .next()
            .filter(|part| part.len() == 2)?
            .parse::<u64>()
            .ok()
    };
    let (hour, minute, second) = (number()?, number()?, number().unwrap_or(0));
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let fraction = billionths(fraction)?;
    let seconds = seconds.checked_add_signed(-offset(zone)? * 60)?;
    Some(seconds.saturating_mul(SECOND).saturating_add(fraction))
}

/// Minutes that a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return (zone == "Z").then_some(0),
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?))
}

/// Days since 1970 of a date in the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Counted from 1 March, so that the leap day is a year's last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
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
            ("9999-12-31", u64::MAX),
        ] {
            assert_eq!(read("--since", text).unwrap(), moment, "{text}");
        }
        for text in [
            "",
            "x",
            "2024-13-01",
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
