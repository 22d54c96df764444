//! Text of unknown origin, made fit for a terminal and a log.

use std::fmt;

/// Longest text shown, in characters; more would only hide the message around it.
const LONGEST: usize = 200;

/// Text from a server, a file or a reference, without characters that could move a cursor, colour a line or reorder
/// letters: those are written as `\u{..}`. Long text is cut with `…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Printable(String);

impl Printable {
    /// Makes any text printable.
    pub fn new(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len().min(LONGEST));
        for (i, c) in text.trim().chars().enumerate() {
            if i == LONGEST {
                shown.push('…');
                break;
            }
            match c {
                '\n' | '\r' | '\t' => shown.push(' '),
                c if is_hidden(c) => shown.extend(c.escape_unicode()),
                c => shown.push(c),
            }
        }
        Self(shown)
    }

    /// Makes bytes printable; sequences that are not UTF-8 become U+FFFD.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        // Four bytes a character at most: no need to look at the rest of a large body.
        Self::new(&String::from_utf8_lossy(
            &bytes[..bytes.len().min(LONGEST * 4 + 4)],
        ))
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Control characters, and the format characters that reorder or hide text (Unicode UAX #9, "Trojan Source").
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_reordering_are_spelled_out() {
        let shown = Printable::new("a\u{1b}[31mred\u{202e}drow\u{7}\u{9b}0m").to_string();
        assert_eq!(shown, "a\\u{1b}[31mred\\u{202e}drow\\u{7}\\u{9b}0m");
        assert_eq!(Printable::new("two\r\nlines\t").to_string(), "two  lines");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let shown = Printable::from_bytes("ü".repeat(5000).as_bytes()).to_string();
        assert_eq!(shown.chars().count(), LONGEST + 1);
        assert!(shown.ends_with("ü…"));
    }
}
