//! When to try again, and how long to wait before.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

/// How often and after what pause a request is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries at one mirror without progress before the next mirror is taken; at least 1.
    pub attempts: u32,
    /// Pause before the second try; it doubles from try to try.
    pub first_delay: Duration,
    /// Longest pause of our own choice.
    pub longest_delay: Duration,
    /// Longest pause that a server may ask for with `Retry-After`; one that asks for more is given up for now.
    pub longest_asked: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(15),
            longest_asked: Duration::from_secs(60),
        }
    }
}

/// The pauses between the tries at one mirror.
#[derive(Debug)]
pub(crate) struct Backoff<'a> {
    retry: &'a Retry,
    failures: u32,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(retry: &'a Retry) -> Self {
        Self { retry, failures: 0 }
    }

    /// The pause before the next try, after one more failure; `None` where it is time to give up.
    ///
    /// `asked` is what the server wants (`Retry-After`). Otherwise the pause is a random one between half and all of
    /// an exponentially growing time, so that many clients of a server that fell over do not come back in step.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.retry.attempts {
            return None;
        }
        if let Some(asked) = asked {
            return (asked <= self.retry.longest_asked).then_some(asked);
        }
        let full = self
            .retry
            .first_delay
            .saturating_mul(1 << (self.failures - 1).min(16))
            .min(self.retry.longest_delay);
        let share = f64::from(random()) / f64::from(u32::MAX);
        Some(full.mul_f64(0.5 + share / 2.0))
    }

    /// Forgets the failures: the last try brought something.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// The pause that a `Retry-After` value asks for: seconds or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Random enough to spread clients: the keys of std's hash maps come from the kernel.
fn random() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_their_jitter_and_end() {
        let retry = Retry {
            attempts: 8,
            ..Retry::default()
        };
        for _ in 0..100 {
            let mut backoff = Backoff::new(&retry);
            for full in [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0] {
                let pause = backoff.next(None).map_or(0.0, |p| p.as_secs_f64());
                assert!((full / 2.0..=full).contains(&pause), "{pause} of {full}");
            }
            assert_eq!(backoff.next(None), None);
        }
    }

    #[test]
    fn the_server_chooses_within_reason() {
        let retry = Retry::default();
        let mut backoff = Backoff::new(&retry);
        let asked = |s| Some(Duration::from_secs(s));
        assert_eq!(backoff.next(asked(7)), asked(7));
        assert_eq!(backoff.next(asked(3600)), None);
    }

    #[test]
    fn progress_starts_over() {
        let retry = Retry {
            attempts: 2,
            ..Retry::default()
        };
        let mut backoff = Backoff::new(&retry);
        for _ in 0..10 {
            assert!(backoff.next(None).is_some());
            backoff.progressed();
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                retry_after(value, now).map(|d| d.as_secs()),
                seconds,
                "{value}"
            );
        }
    }
}
