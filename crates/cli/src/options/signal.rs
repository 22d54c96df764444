//! Signals by name or number.

use nix::sys::signal::Signal;

use crate::options::refused;
use crate::report::Failure;

/// The real-time signals that programs may use, signal(7).
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Reads a signal such as `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3` or `RTMAX-1`.
pub fn read(flag: &str, text: &str) -> Result<i32, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        Ok(number) => {
            Some(number).filter(|number| (1..=31).contains(number) || REAL_TIME.contains(number))
        }
        Err(_) => named(name),
    };
    number.ok_or_else(|| refused(flag, text, "expected a signal such as TERM, HUP or 9"))
}

fn named(name: &str) -> Option<i32> {
    let real_time = |base: i32, offset: &str| match offset {
        "" => Some(base),
        offset => offset.parse::<i32>().ok()?.checked_add(base),
    };
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        real_time(*REAL_TIME.start(), offset)?
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        real_time(*REAL_TIME.end(), offset)?
    } else {
        let signal: Signal = format!("SIG{name}").parse().ok()?;
        return Some(signal as i32);
    };
    REAL_TIME.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("9", 9),
            ("SIGWINCH", 28),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(read("-s", text).unwrap(), number, "{text}");
        }
        for text in [
            "", "0", "-9", "32", "65", "NOPE", "SIG", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+x",
        ] {
            assert!(read("-s", text).is_err(), "{text}");
        }
    }
}
