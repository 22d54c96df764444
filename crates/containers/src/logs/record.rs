//! A record of a log: a line, or a part of one, with its time and stream.
//!
//! `2026-02-28T23:59:59.123456789Z stdout F text`, and a line break. `F` marks the end of a line of the container; after `P` the next
//! record of the same stream continues the line. kubelet reads this format and conmon writes it. The text is the container's bytes
//! without line breaks, so it cannot forge a record: a record begins only at the start of a line.
//! <https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>

use std::time::{SystemTime, UNIX_EPOCH};

/// The stream that the container wrote to. With a terminal there is only [`Stream::Stdout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// Both, in the order of their descriptors.
    pub(crate) const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    fn name(self) -> &'static [u8; 6] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// Length of a timestamp: RFC 3339 with nanoseconds, always in UTC, so that the texts sort like the times.
pub const STAMP: usize = 30;

/// Bytes before the text.
pub(super) const PREFIX: usize = STAMP + " stdout F ".len();

/// The longest text, as in containerd. A longer line becomes several records.
pub(super) const LONGEST: usize = 16 << 10;

/// A record, borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When box read it, as [`stamp`] writes it.
    pub time: &'a [u8; STAMP],
    /// The stream that the container wrote to.
    pub stream: Stream,
    /// Whether a line break followed.
    pub complete: bool,
    /// The text without that line break.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Parses a line of the log without its line break; `None` if it is not a record.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = line.split_first_chunk::<STAMP>()?;
        let (stream, rest) = rest.strip_prefix(b" ")?.split_first_chunk::<6>()?;
        let stream = Stream::BOTH
            .into_iter()
            .find(|known| known.name() == stream)?;
        let (complete, text) = match rest {
            [b' ', b'F', b' ', text @ ..] => (true, text),
            [b' ', b'P', b' ', text @ ..] => (false, text),
            _ => return None,
        };
        let shape = b"0000-00-00T00:00:00.000000000Z";
        let fits = time.iter().zip(shape).all(|(byte, model)| match model {
            b'0' => byte.is_ascii_digit(),
            _ => byte == model,
        });
        fits.then_some(Self {
            time,
            stream,
            complete,
            text,
        })
    }
}

/// The part of a record before its text.
pub(super) fn prefix(time: &[u8; STAMP], stream: Stream, complete: bool) -> [u8; PREFIX] {
    let mut prefix = [b' '; PREFIX];
    prefix[..STAMP].copy_from_slice(time);
    prefix[STAMP + 1..STAMP + 7].copy_from_slice(stream.name());
    prefix[STAMP + 8] = if complete { b'F' } else { b'P' };
    prefix
}

/// Nanoseconds since 1970, up to the year 2554.
pub(super) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The timestamp of a time in nanoseconds since 1970.
pub fn stamp(nanoseconds: u64) -> [u8; STAMP] {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let mut put = |from: usize, digits: usize, mut number: u64| {
        for at in (from..from + digits).rev() {
            text[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second / 3_600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    put(20, 9, fraction);
    text
}

/// Year, month and day in the Gregorian calendar, from days since 1970: counted in eras of 400 years from 1 March of year 0.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = match month_from_march {
        0..10 => month_from_march + 3,
        _ => month_from_march - 9,
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_725_622_456, 250_000_000, "2024-09-06T11:34:16.250000000Z"),
            (4_107_542_399, 999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        ] {
            let written = stamp(seconds * 1_000_000_000 + nanoseconds);
            assert_eq!(std::str::from_utf8(&written).unwrap(), text);
        }
        assert!(stamp(u64::MAX).starts_with(b"2554-"));
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let time = stamp(now());
        for (stream, complete, text) in [
            (Stream::Stdout, true, &b"hello"[..]),
            (Stream::Stderr, false, b""),
            (Stream::Stderr, true, b"\0\x1b[2J\xff\r"),
        ] {
            let mut line = prefix(&time, stream, complete).to_vec();
            line.extend(text);
            let record = Record::parse(&line).unwrap();
            assert_eq!(
                (record.time, record.stream, record.complete, record.text),
                (&time, stream, complete, text)
            );
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "hello",
            "2026-02-28T23:59:59.123456789Z",
            "2026-02-28T23:59:59.123456789Z stdout F",
            "2026-02-28T23:59:59.123456789Z stdin F x",
            "2026-02-28T23:59:59.123456789Z stdout X x",
            "2026-02-28T23:59:59.123456789Z stdout  x x",
            "2026-02-28 23:59:59.123456789Z stdout F x",
            "2026-02-28T23:59:59.12345678xZ stdout F x",
            "2026-02-28T23:59:59.123456789+ stdout F x",
        ] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
    }
}
