//! Increasing waits for processes that the kernel is ending.

use std::thread::sleep;
use std::time::Duration;

/// Waits between checks in milliseconds, some seconds in total.
const WAITS: [u64; 14] = [0, 1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000];

/// Waits that increase, and fall back whenever a process has ended: thousands of processes take a slow machine long, but a process
/// that does not end must not be waited for forever.
#[derive(Debug)]
pub struct Backoff {
    least: usize,
    next: usize,
}

impl Backoff {
    pub fn new() -> Self {
        Self {
            least: usize::MAX,
            next: 0,
        }
    }

    /// Waits, given how many processes are `left`. Returns false at once if none has ended for too long.
    pub fn wait(&mut self, left: usize) -> bool {
        if left < self.least {
            self.least = left;
            self.next = self.next.min(5);
        }
        let Some(wait) = WAITS.get(self.next) else {
            return false;
        };
        self.next += 1;
        sleep(Duration::from_millis(*wait));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_only_where_nothing_moves() {
        let mut backoff = Backoff::new();
        for left in (1000..1100).rev() {
            assert!(backoff.wait(left));
        }
        backoff.next = WAITS.len();
        assert!(!backoff.wait(1000));
        assert!(backoff.wait(999));
    }
}
