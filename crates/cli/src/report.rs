//! The only place that prints failures: one `error:` line, at most one `hint:` line, and an exit status.

mod hints;
pub mod log;

pub use hints::of_containers as hint;

use std::error::Error;
use std::fmt::Display;
use std::io::Write;

/// Exit status if box itself failed, as with docker and podman.
pub const BOX_FAILED: u8 = 125;

/// A failure as the user sees it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    status: u8,
    silent: bool,
}

impl Failure {
    /// A failure of box itself: exit status 125.
    pub fn new(message: impl Display) -> Failure {
        Failure {
            message: message.to_string(),
            hint: None,
            status: BOX_FAILED,
            silent: false,
        }
    }

    /// An error and its causes on one line, without causes that the message already contains.
    pub fn from_error(error: &dyn Error) -> Failure {
        let mut message = box_cache::plain_reason(&error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = box_cache::plain_reason(&cause.to_string());
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Failure::new(message)
    }

    /// A failure that prints nothing: everything has been said, or nobody reads it any more.
    pub fn silent(status: u8) -> Failure {
        Failure {
            message: String::new(),
            hint: None,
            status,
            silent: true,
        }
    }

    /// Adds a hint at what the user can do.
    pub fn hint(mut self, hint: impl Display) -> Failure {
        self.hint = Some(hint.to_string());
        self
    }

    /// Adds a hint if there is one.
    pub fn maybe_hint(self, hint: Option<String>) -> Failure {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// The result of several actions: success, or the last failure. Prints all other failures.
    pub fn all(mut failures: Vec<Failure>) -> Result<u8, Failure> {
        match failures.pop() {
            None => Ok(0),
            Some(last) => {
                for failure in &failures {
                    failure.report();
                }
                Err(last)
            }
        }
    }

    /// The exit status.
    pub fn exit_status(&self) -> u8 {
        self.status
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Replaces the exit status.
    pub fn status(mut self, status: u8) -> Failure {
        self.status = status;
        self
    }

    /// Prints the failure on stderr and returns the exit status. A closed stderr changes nothing.
    pub fn report(&self) -> u8 {
        if !self.silent {
            let mut text = format!("error: {}\n", printable(&self.message));
            if let Some(hint) = &self.hint {
                text.push_str(&format!("hint: {}\n", printable(hint)));
            }
            // If stderr is closed, only the exit status can tell.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        self.status
    }
}

impl From<box_containers::Error> for Failure {
    fn from(error: box_containers::Error) -> Failure {
        Failure::from_error(&error)
            .maybe_hint(hint(&error))
            .status(error.exit_code())
    }
}

impl From<box_run::Error> for Failure {
    fn from(error: box_run::Error) -> Failure {
        box_containers::Error::from(error).into()
    }
}

impl From<box_cache::Error> for Failure {
    fn from(error: box_cache::Error) -> Failure {
        let hint = hints::of_cache(&error);
        Failure::from_error(&error).maybe_hint(hint)
    }
}

impl From<box_unpack::Error> for Failure {
    fn from(error: box_unpack::Error) -> Failure {
        let hint = hints::of_unpack(&error);
        Failure::from_error(&error).maybe_hint(hint)
    }
}

impl From<box_pull::Error> for Failure {
    fn from(error: box_pull::Error) -> Failure {
        let hint = hints::of_pull(&error);
        Failure::from_error(&error).maybe_hint(hint)
    }
}

impl From<box_registry::Error> for Failure {
    fn from(error: box_registry::Error) -> Failure {
        let hint = hints::of_registry(&error);
        Failure::from_error(&error).maybe_hint(hint)
    }
}

/// Prints one `warning:` line on stderr.
pub fn warn(message: impl Display) {
    let line = format!("warning: {}\n", printable(&message.to_string()));
    // As in `report`: a closed stderr is not a reason to fail.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// The message of an I/O error, see [`box_cache::Reason`].
pub fn cause(error: &std::io::Error) -> String {
    box_cache::Reason(error).to_string()
}

/// Makes text from any source safe for a terminal, on one line: line breaks and tabs become spaces, all other characters that
/// [`is_unprintable`] are removed.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\r' | '\t' => Some(' '),
            c if is_unprintable(c) => None,
            c => Some(c),
        })
        .collect()
}

/// Whether a terminal acts on a character, or shows something other than what is there. These are the control characters (C0, DEL,
/// and C1, which can start an escape sequence too), the marks of Unicode's bidirectional algorithm (UAX #9), which can make a text
/// read differently (CVE-2021-42574), line separators, and invisible characters without a use: zero-width spaces, the byte order mark,
/// tags. Joiners are needed for emoji and Persian.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cause_is_printed_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("read /x: {source}")]
        struct Quoting {
            source: std::io::Error,
        }
        #[derive(Debug, thiserror::Error)]
        #[error("pull alpine")]
        struct Plain(#[source] Quoting);
        let error = Plain(Quoting {
            source: std::io::Error::from_raw_os_error(28),
        });
        assert_eq!(
            Failure::from_error(&error).message,
            "pull alpine: read /x: no space left on device"
        );
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(
            printable("a\x1b[31mb\u{9b}2Jc\nd\u{202e}e\x7f"),
            "a[31mb2Jc de"
        );
        for c in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{2066}\u{2069}\u{feff}\u{2028}\u{85}\u{200b}".chars()
        {
            assert_eq!(printable(&format!("a{c}b")), "ab", "{c:?}");
        }
        let plain = "naïve 名前 🦀 \u{202f}";
        assert_eq!(printable(plain), plain);
    }
}
