//! Expands a word of a Dockerfile: substitutes variables and removes quotes and escapes. Does no I/O.
//!
//! <https://docs.docker.com/reference/dockerfile/#environment-replacement>. Like BuildKit: everything between
//! single quotes is literal; between double quotes a backslash escapes `"`, `$` and itself; elsewhere it escapes any character.

use std::iter::Peekable;
use std::str::Chars;

/// Maximal nesting of defaults, as in `${A:-${B:-c}}`.
const MAX_DEPTH: u32 = 32;

/// Expands a word. `variable` returns the value of a variable.
pub fn expand(
    word: &str,
    escape: char,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut expansion = Expansion {
        letters: word.chars().peekable(),
        escape,
        variable,
    };
    expansion.until(None, 0)
}

struct Expansion<'a> {
    letters: Peekable<Chars<'a>>,
    escape: char,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Expansion<'_> {
    /// Expands up to and including the character `end`, or up to the end of the word.
    fn until(&mut self, end: Option<char>, depth: u32) -> Result<String, String> {
        let mut out = String::new();
        while let Some(letter) = self.letters.next() {
            match letter {
                _ if Some(letter) == end => return Ok(out),
                '\'' => self.single_quoted(&mut out)?,
                '"' => self.double_quoted(&mut out, depth)?,
                '$' => out += &self.dollar(depth)?,
                // At the end of the word it escapes nothing.
                _ if letter == self.escape => out.extend(self.letters.next()),
                _ => out.push(letter),
            }
        }
        match end {
            None => Ok(out),
            Some(end) => Err(format!("a variable is not closed by {end}")),
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), String> {
        loop {
            match self.letters.next() {
                None => return Err("a single quote is not closed".to_owned()),
                Some('\'') => return Ok(()),
                Some(letter) => out.push(letter),
            }
        }
    }

    fn double_quoted(&mut self, out: &mut String, depth: u32) -> Result<(), String> {
        loop {
            match self.letters.next() {
                None => return Err("a double quote is not closed".to_owned()),
                Some('"') => return Ok(()),
                Some('$') => *out += &self.dollar(depth)?,
                Some(letter) if letter == self.escape => {
                    let escape = self.escape;
                    let special = |next: &char| matches!(next, '"' | '$') || *next == escape;
                    out.push(self.letters.next_if(special).unwrap_or(letter));
                }
                Some(letter) => out.push(letter),
            }
        }
    }

    /// Expands the text after a `$`.
    fn dollar(&mut self, depth: u32) -> Result<String, String> {
        if self.letters.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".to_owned(),
                false => (self.variable)(&name).unwrap_or_default(),
            });
        }
        let name = self.name();
        let bad = || {
            format!(
                "bad substitution of {name:?}, expected ${{NAME}}, ${{NAME:-VALUE}} or the like"
            )
        };
        if name.is_empty() || depth >= MAX_DEPTH {
            return Err(bad());
        }
        let value = (self.variable)(&name);
        let empty_is_unset = self.letters.next_if_eq(&':').is_some();
        let operator = self.letters.next().ok_or_else(bad)?;
        if operator == '}' && !empty_is_unset {
            return Ok(value.unwrap_or_default());
        }
        if !matches!(operator, '-' | '+' | '?') {
            return Err(bad());
        }
        let word = self.until(Some('}'), depth + 1)?;
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) if word.is_empty() => Err(format!("{name} is not set")),
            (_, None) => Err(format!("{name}: {word}")),
        }
    }

    /// A name of letters, digits and `_`, a number, or one of the special parameters of the shell, which no image sets.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let special = |letter: &char| matches!(letter, '@' | '*' | '#' | '?' | '-' | '$' | '!');
        if let Some(letter) = self.letters.next_if(special) {
            name.push(letter);
            return name;
        }
        let digits = self.letters.peek().is_some_and(char::is_ascii_digit);
        let part = |letter: &char| match digits {
            true => letter.is_ascii_digit(),
            false => letter.is_ascii_alphanumeric() || *letter == '_',
        };
        while let Some(letter) = self.letters.next_if(part) {
            name.push(letter);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "A" => Some("a b".to_owned()),
            "EMPTY" => Some(String::new()),
            "PATH" => Some("/bin:/usr/bin".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn quotes_escapes_and_variables() {
        for (word, meant) in [
            ("plain", "plain"),
            (r#""d e""#, "d e"),
            (r"g\ h", "g h"),
            ("/x:$PATH", "/x:/bin:/usr/bin"),
            ("${PATH}x", "/bin:/usr/binx"),
            ("$A_", ""),
            ("'$A'", "$A"),
            (r"\$A", "$A"),
            (r#""\$A \" \\ \n""#, r#"$A " \ \n"#),
            (r#"a"b c"'d e'f"#, "ab cd ef"),
            (
                "${NO:-x}|${NO-x}|${EMPTY:-x}|${EMPTY-x}|${A:-x}",
                "x|x|x||a b",
            ),
            ("${NO:+x}|${NO+x}|${EMPTY:+x}|${EMPTY+x}|${A:+x}", "|||x|x"),
            ("${A:?x}|${EMPTY?x}", "a b|"),
            ("${NO:-${NO:-$A}}", "a b"),
            (r#"${NO:-"}"}"#, "}"),
            ("$", "$"),
            ("a$", "a$"),
            ("$/x", "$/x"),
            ("$1x$@y", "xy"),
            ("a\\", "a"),
            ("", ""),
            ("\"\"", ""),
            ("ü$A", "üa b"),
        ] {
            assert_eq!(
                expand(word, '\\', &variable).as_deref(),
                Ok(meant),
                "{word}"
            );
        }
        assert_eq!(expand(r"C:\x`$", '`', &variable).as_deref(), Ok(r"C:\x$"));
    }

    #[test]
    fn malformed_words_are_refused() {
        for (word, reason) in [
            ("'x", "single quote is not closed"),
            ("\"x", "double quote is not closed"),
            ("${", "bad substitution"),
            ("${}", "bad substitution"),
            ("${:x}", "bad substitution"),
            ("${A", "bad substitution"),
            ("${A:}", "bad substitution"),
            ("${A/x/y}", "bad substitution"),
            ("${A:-x", "not closed by }"),
            ("${NO:?}", "NO is not set"),
            ("${NO?it is missing}", "NO: it is missing"),
            (&"${A:-".repeat(10_000), "bad substitution"),
        ] {
            let refused = expand(word, '\\', &variable).unwrap_err();
            assert!(refused.contains(reason), "{word}: {refused}");
        }
    }
}
