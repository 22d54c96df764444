//! The records of an extended header in the pax format.

/// Key and value of a record. Keys of extended attributes are bytes, as their names are.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// The content of an extended header: `LENGTH KEY=VALUE` and a line break for each record.
pub(super) fn text(records: &[Record]) -> Vec<u8> {
    let mut text = vec![];
    for (key, value) in records {
        // The length includes its own digits.
        let rest = key.len() + value.len() + " =\n".len();
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        text.extend_from_slice(format!("{length} ").as_bytes());
        for part in [key, &b"="[..], value, b"\n"] {
            text.extend_from_slice(part);
        }
    }
    text
}
