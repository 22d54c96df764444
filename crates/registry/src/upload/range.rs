//! How much of an upload a registry has, by its `Range` header.

/// The number of bytes that a `Range` header says are there: `0-99` are 100. `None` if it says nothing of the kind.
///
/// Registries write `0-0` for an upload that is empty, so the one byte that it may also mean counts only where `one` could have
/// arrived.
pub(super) fn received(header: &str, one: bool) -> Option<u64> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").unwrap_or(text);
    let text = text.trim_start_matches(['=', ' ']);
    let (first, last) = text.split_once('-')?;
    if first.trim() != "0" {
        return None;
    }
    match last.trim().parse::<u64>().ok()? {
        0 if !one => Some(0),
        last => last.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_range() {
        for (header, bytes) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("bytes 0-99", Some(100)),
            (" 0-99 ", Some(100)),
            ("0-0", Some(0)),
            ("0-1", Some(2)),
            ("1-99", None),
            ("0--1", None),
            ("0-", None),
            ("99", None),
            ("", None),
            ("0-18446744073709551615", None),
            ("0-99999999999999999999", None),
        ] {
            assert_eq!(received(header, false), bytes, "{header}");
        }
        assert_eq!(received("0-0", true), Some(1));
    }
}
