//! When to retry, and after what pause.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

/// How often and after what pause a request is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries at one location without progress before the next location is tried; at least 1.
    pub attempts: u32,
    /// Pause before the second try; it doubles with every try.
    pub first_delay: Duration,
    /// Longest pause that is chosen here.
    pub longest_delay: Duration,
    /// Longest pause that a server may ask for with `Retry-After`; a server that asks for more is not tried again.
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

/// The pauses between the tries at one location.
#[derive(Debug)]
pub struct Backoff<'a> {
    retry: &'a Retry,
    failures: u32,
}

impl<'a> Backoff<'a> {
    /// No try has failed yet.
    pub fn new(retry: &'a Retry) -> Self {
        Self { retry, failures: 0 }
    }

    /// The pause before the next try, after one more failure; `None` when it is time to give up.
    ///
    /// `asked` is the pause that the server asks for (`Retry-After`). Without it, the pause is random, between half and all
    /// of an exponentially growing time, so that many clients of a server that failed do not return in step.
    pub fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
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

    /// Forgets the failures, after a try that brought something.
    pub fn progressed(&mut self) {
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

/// A number that is random enough to spread clients: std takes the keys of its hash maps from the kernel.
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
                let pause = backoff.next_pause(None).map_or(0.0, |p| p.as_secs_f64());
                assert!((full / 2.0..=full).contains(&pause), "{pause} of {full}");
            }
            assert_eq!(backoff.next_pause(None), None);
        }
    }

    #[test]
    fn the_server_chooses_within_reason() {
        let retry = Retry::default();
        let mut backoff = Backoff::new(&retry);
        let asked = |s| Some(Duration::from_secs(s));
        assert_eq!(backoff.next_pause(asked(7)), asked(7));
        assert_eq!(backoff.next_pause(asked(3600)), None);
    }

    #[test]
    fn progress_starts_over() {
        let retry = Retry {
            attempts: 2,
            ..Retry::default()
        };
        let mut backoff = Backoff::new(&retry);
        for _ in 0..10 {
            assert!(backoff.next_pause(None).is_some());
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
