//! The records of PAX extended headers: `length key=value\n`, see pax(1), "pax Extended Header".

/// A key and its value. An empty value takes back what an earlier record of that key said.
pub type PaxRecord<'a> = (&'a [u8], &'a [u8]);

/// Splits an extended header into its records, which are as many as it says: nothing is skipped. The first malformed record ends
/// them, with what is wrong with it.
pub fn pax_records(mut text: &[u8]) -> impl Iterator<Item = Result<PaxRecord<'_>, &'static str>> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        match first_record(text) {
            Ok((record, rest)) => {
                text = rest;
                Some(Ok(record))
            }
            Err(fault) => {
                text = b"";
                Some(Err(fault))
            }
        }
    })
}

/// A decimal number without a sign, as records have them; none for anything else.
pub fn pax_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

/// The first record, and the text behind it.
fn first_record(text: &[u8]) -> Result<(PaxRecord<'_>, &[u8]), &'static str> {
    // No length has more digits than 2^64.
    let space = text.iter().take(20).position(|&b| b == b' ');
    let space = space.ok_or("a record without a length")?;
    let length = pax_number(&text[..space]).ok_or("the length of a record is not a number")?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > text.len() {
        return Err("a record is longer than the header that it is in");
    }
    if length < space + 2 || text[length - 1] != b'\n' {
        return Err("a record does not end in a line feed where its length says");
    }
    let record = &text[space + 1..length - 1];
    let equals = record.iter().position(|&b| b == b'=');
    let equals = equals.ok_or("a record without \"=\"")?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err("a record with an empty key, or with a NUL byte in it");
    }
    Ok(((key, value), &text[length..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<PaxRecord<'_>>, &'static str> {
        pax_records(text).collect()
    }

    #[test]
    fn records_are_split_by_their_lengths() {
        assert_eq!(read(b"").unwrap(), []);
        let text = b"9 path=a\n9 k=a=\nb\n5 k=\n";
        let expected: Vec<PaxRecord<'_>> = vec![(b"path", b"a"), (b"k", b"a=\nb"), (b"k", b"")];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn malformed_records_are_refused() {
        for (text, fault) in [
            (&b"path=a\n"[..], "without a length"),
            (b"x path=a\n", "not a number"),
            (b"+9 path=a\n", "not a number"),
            (b" path=a\n", "not a number"),
            (b"99 path=a\n", "longer"),
            (b"8 path=a\n", "line feed"),
            (b"0 \n", "line feed"),
            (b"7 path\n", "without \"=\""),
            (b"5 =a\n", "empty key"),
            (b"7 k\0=a\n", "NUL"),
            (b"9 path=a\n\0", "without a length"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(fault), "{text:?}: {error}");
        }
    }

    #[test]
    fn numbers_have_digits_alone() {
        assert_eq!(pax_number(b"18446744073709551615"), Some(u64::MAX));
        for text in [&b""[..], b"+1", b"-1", b"1 ", b"18446744073709551616"] {
            assert_eq!(pax_number(text), None, "{text:?}");
        }
    }
}
