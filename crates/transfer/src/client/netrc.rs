//! Names and passwords for hosts from a `.netrc` file (format of ftp(1), as curl and wget read it).

/// The entries of a `.netrc` file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Netrc(Vec<Entry>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Entry {
    /// `None` is the `default` entry.
    machine: Option<String>,
    login: String,
    password: String,
}

impl Netrc {
    /// Reads the text of a file. Unknown words and macros are ignored, as other readers do.
    pub fn parse(text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut words = words(line).into_iter();
            while let Some(word) = words.next() {
                match word.as_str() {
                    "machine" => entries.push(Entry {
                        machine: Some(words.next().unwrap_or_default()),
                        ..Entry::default()
                    }),
                    "default" => entries.push(Entry::default()),
                    "macdef" => {
                        // A macro ends at an empty line.
                        lines.by_ref().find(|line| line.trim().is_empty());
                        break;
                    }
                    key @ ("login" | "password" | "account") => {
                        let value = words.next().unwrap_or_default();
                        match (entries.last_mut(), key) {
                            (Some(entry), "login") => entry.login = value,
                            (Some(entry), "password") => entry.password = value,
                            _ => {}
                        }
                    }
                    _ => {}
                }
            }
        }
        Self(entries)
    }

    /// Login and password for `host`, from the first entry that names it, else from the first `default` entry.
    pub fn credentials(&self, host: &str) -> Option<(&str, &str)> {
        let named = |e: &&Entry| {
            e.machine
                .as_deref()
                .is_some_and(|m| m.eq_ignore_ascii_case(host))
        };
        let entry = self
            .0
            .iter()
            .find(named)
            .or_else(|| self.0.iter().find(|e| e.machine.is_none()))?;
        (!entry.login.is_empty()).then_some((&entry.login, &entry.password))
    }
}

impl std::fmt::Debug for Netrc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Netrc({} entries)", self.0.len())
    }
}

/// The words of a line: separated by blanks, or `"quoted"` with backslash escapes. `#` at the start of a word begins a
/// comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&first) = chars.peek() {
        match first {
            c if c.is_whitespace() => {
                chars.next();
            }
            '#' => break,
            _ => {
                let quoted = first == '"' && chars.next().is_some();
                let mut word = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' if quoted => break,
                        '\\' => word.extend(chars.next()),
                        c => word.push(c),
                    }
                    if !quoted && chars.peek().is_none_or(|c| c.is_whitespace()) {
                        break;
                    }
                }
                words.push(word);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_find_their_entry() {
        let netrc = Netrc::parse(
            "# mirrors\nmachine a.example login me password p#ss\n\
             machine B.example\n  login \"two words\"\n  password \"q\\\"uote\" account x\n\
             macdef init\n machine fake.example login x password y\n\n\
             default login anonymous password guest@",
        );
        for (host, expected) in [
            ("a.example", ("me", "p#ss")),
            ("b.example", ("two words", "q\"uote")),
            ("fake.example", ("anonymous", "guest@")),
        ] {
            assert_eq!(netrc.credentials(host), Some(expected), "{host}");
        }
    }

    #[test]
    fn broken_files_give_nobody_a_password() {
        for text in [
            "",
            "machine",
            "machine a login",
            "login me password x",
            "\"",
            "machine a password x",
        ] {
            assert_eq!(Netrc::parse(text).credentials("a"), None, "{text}");
        }
    }
}
