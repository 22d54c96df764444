//! Challenges: how a server wants to be told who asks (RFC 9110, section 11).
//!
//! One answer may have several header lines, each with several challenges. Those of unknown schemes are skipped, whatever their form.

use box_transfer::header::{self, HeaderMap};

/// The most challenges that are looked at; a kind server has one or two.
const MOST: usize = 32;

/// The longest header line that is looked at, in bytes.
const LONGEST: usize = 16 << 10;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// The parameters, with names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// All challenges of an answer, in order.
    pub fn all(headers: &HeaderMap) -> Vec<Self> {
        let mut all = Vec::new();
        for line in headers.get_all(header::WWW_AUTHENTICATE) {
            if line.len() <= LONGEST {
                parse(&String::from_utf8_lossy(line.as_bytes()), &mut all);
            }
        }
        all.truncate(MOST);
        all
    }

    /// The first value of a parameter, by its name in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut named = self.parameters.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter: some servers repeat `scope`.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.parameters.iter().filter(move |(n, _)| n == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header line.
pub(super) fn parse(line: &str, all: &mut Vec<Challenge>) {
    let mut rest = Rest(line);
    let before = all.len();
    loop {
        rest.skip(|c| c == ',' || is_space(c));
        if rest.0.is_empty() {
            return;
        }
        let name = rest.take(is_token_char).to_ascii_lowercase();
        if name.is_empty() {
            rest.skip_item();
            continue;
        }
        let spaces = rest.skip(is_space);
        if rest.0.starts_with('=') && all.len() > before {
            rest.0 = &rest.0[1..];
            rest.skip(is_space);
            if let (Some(value), Some(challenge)) = (rest.value(), all.last_mut()) {
                challenge.parameters.push((name, value));
            } else {
                rest.skip_item();
            }
            continue;
        }
        all.push(Challenge {
            scheme: name,
            parameters: Vec::new(),
        });
        if spaces > 0 {
            rest.skip_token68();
        }
    }
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !accept(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip(&mut self, accept: impl Fn(char) -> bool) -> usize {
        self.take(accept).len()
    }

    /// A token, or a quoted string with its escapes resolved. A string without an end is none.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            // More than a token may have: some servers do not quote their URLs.
            let value = self.take(|c| c != ',' && !is_space(c) && c != '"');
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                c => value.push(c),
            }
        }
        None
    }

    /// Skips what a scheme such as Negotiate has instead of parameters.
    fn skip_token68(&mut self) {
        let mut ahead = Rest(self.0);
        ahead.take(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        ahead.take(|c| c == '=');
        ahead.skip(is_space);
        if ahead.0.is_empty() || ahead.0.starts_with(',') {
            self.0 = ahead.0;
        }
    }

    /// Skips what cannot be read, up to the next comma that is not quoted.
    fn skip_item(&mut self) {
        let (mut quoted, mut escaped) = (false, false);
        for (at, c) in self.0.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ',' if !quoted => {
                    self.0 = &self.0[at..];
                    return;
                }
                _ => {}
            }
        }
        self.0 = "";
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scheme(name=value;…)` for each challenge.
    fn shown(lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = line.parse();
            headers.append(header::WWW_AUTHENTICATE, value.expect("a header value"));
        }
        let shown = Challenge::all(&headers).into_iter().map(|c| {
            let all = c.parameters.iter().map(|(n, v)| format!("{n}={v}"));
            format!("{}({})", c.scheme, all.collect::<Vec<_>>().join(";"))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_of_every_form_are_read() {
        for (lines, expected) in [
            (
                &[r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#][..],
                "bearer(realm=https://a/t;service=s;scope=repository:x:pull,push)",
            ),
            (
                &["Negotiate", r#"Basic realm="r""#],
                "negotiate() basic(realm=r)",
            ),
            (
                &[r#"Basic realm="r", Bearer realm="t" , service = "s""#],
                "basic(realm=r) bearer(realm=t;service=s)",
            ),
            (
                &[r#"Negotiate YII/+a==, NTLM, basic Realm="a \"b\", c\\", CHARSET=UTF-8"#],
                r#"negotiate() ntlm() basic(realm=a "b", c\;charset=UTF-8)"#,
            ),
            (
                &[r#",, BEARER REALM=https://a/t?x=y,,service=s"#],
                "bearer(realm=https://a/t?x=y;service=s)",
            ),
            (&["Bearer realm"], "bearer() "),
            (&["realm=x"], "realm()"),
            (&[r#"Bearer realm="open"#], "bearer()"),
            (
                &[r#"Bearer realm="a";service="b",scope="c""#],
                "bearer(realm=a;scope=c)",
            ),
            (
                &[r#"Bearer scope="a",scope="b""#],
                "bearer(scope=a;scope=b)",
            ),
            (&["", "=,=\"", "\"", "@@@"], ""),
        ] {
            assert_eq!(shown(lines).trim(), expected.trim(), "{lines:?}");
        }
    }

    proptest::proptest! {
        /// Whatever a line holds, what is read of it means itself when it is written again.
        #[test]
        fn what_is_read_is_read_again(line in "[A-Za-z]{0,3}[ ,=\"\\\\a-cé/;]{0,60}") {
            let mut all = Vec::new();
            parse(&line, &mut all);
            let written = all.iter().map(|challenge| {
                let parameters = challenge.parameters.iter().map(|(name, value)| {
                    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
                    format!("{name}=\"{escaped}\"")
                });
                format!("{} {}", challenge.scheme, parameters.collect::<Vec<_>>().join(", "))
            });
            let written = written.collect::<Vec<_>>().join(", ");
            let mut again = Vec::new();
            parse(&written, &mut again);
            proptest::prop_assert_eq!(again, all, "{}", written);
        }
    }

    #[test]
    fn a_server_cannot_send_challenges_without_end() {
        let many = "Basic, ".repeat(2000);
        assert_eq!(shown(&[&many]).split(' ').count(), MOST);
        assert_eq!(shown(&[&"x".repeat(LONGEST + 1)]), "");
    }
}
