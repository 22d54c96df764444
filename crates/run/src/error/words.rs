//! The words for an error number.

use std::fmt;
use std::io;

/// An I/O error as people say it: lower case, without `(os error N)`.
pub struct Words<'a>(pub &'a io::Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or(&text);
        let mut letters = text.chars();
        // "No such file" is written "no such file"; an acronym such as "RPC" stays.
        match (letters.next(), letters.clone().next()) {
            (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
                write!(out, "{}{}", first.to_lowercase(), letters.as_str())
            }
            _ => out.write_str(text),
        }
    }
}
