//! Why a system call failed: in words for messages, and in kinds for decisions.

use std::fmt;
use std::io;

/// An I/O error in the words that follow a colon in a message: without the `(os error N)` that the standard library appends, and in
/// lower case but for acronyms.
///
/// ```
/// let error = std::io::Error::from_raw_os_error(2);
/// assert_eq!(box_host::Reason(&error).to_string(), "no such file or directory");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a>(pub &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = plain_reason(&self.0.to_string());
        write!(f, "{}", lower_case(&text))
    }
}

/// A message from elsewhere as [`Reason`] words one: each ` (os error N)` in it is removed, and the clause before that is lower case.
pub fn plain_reason(text: &str) -> String {
    const MARK: &str = " (os error ";
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let number = &rest[at + MARK.len()..];
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || !number[digits..].starts_with(')') {
            plain.push_str(&rest[..at + 1]);
            rest = &rest[at + 1..];
            continue;
        }
        let clause = rest[..at].rfind(": ").map_or(0, |colon| colon + 2);
        plain.push_str(&rest[..clause]);
        plain.push_str(&lower_case(&rest[clause..at]));
        rest = &number[digits + 1..];
    }
    plain.push_str(rest);
    plain
}

/// Makes "No such file" of a sentence "no such file", and leaves "RFS specific error" as it is.
fn lower_case(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Whether there was no room: ENOSPC, EDQUOT.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether this process may not write there: EROFS, EACCES, EPERM. What a command does for its own convenience in another user's
/// cache is left undone then; what it was asked for fails.
pub fn is_unwritable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(number: i32) -> String {
        Reason(&io::Error::from_raw_os_error(number)).to_string()
    }

    #[test]
    fn a_reason_is_in_lower_case_and_has_no_number() {
        assert_eq!(reason(2), "no such file or directory");
        assert_eq!(reason(13), "permission denied");
        assert_eq!(reason(73), "RFS specific error");
        let other = io::Error::other("Something else (os error ) b");
        assert_eq!(Reason(&other).to_string(), "something else (os error ) b");
        assert_eq!(Reason(&io::Error::other("EOF")).to_string(), "EOF");
        assert_eq!(Reason(&io::Error::other("")).to_string(), "");
    }

    #[test]
    fn numbers_are_removed_from_any_message() {
        assert_eq!(
            plain_reason("open /x: No such file or directory (os error 2): while pulling"),
            "open /x: no such file or directory: while pulling"
        );
        assert_eq!(plain_reason("a (os error ) b"), "a (os error ) b");
        assert_eq!(
            plain_reason("Is a directory (os error 21), File exists (os error 17)"),
            "is a directory, File exists"
        );
    }

    #[test]
    fn kinds_are_those_of_the_kernels_errors() {
        for (number, full, unwritable) in [
            (rustix::io::Errno::NOSPC, true, false),
            (rustix::io::Errno::DQUOT, true, false),
            (rustix::io::Errno::ROFS, false, true),
            (rustix::io::Errno::ACCESS, false, true),
            (rustix::io::Errno::PERM, false, true),
            (rustix::io::Errno::NOENT, false, false),
            (rustix::io::Errno::IO, false, false),
        ] {
            let error = io::Error::from(number);
            assert_eq!((is_full(&error), is_unwritable(&error)), (full, unwritable));
        }
    }
}
