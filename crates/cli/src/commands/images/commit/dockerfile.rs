//! Parses `--change`: the part of the Dockerfile grammar that concerns an image's config. Does no I/O.
//!
//! <https://docs.docker.com/reference/dockerfile/>, and BuildKit's parser where that leaves something open. Only the form is checked
//! here. Words keep their quotes and variables, which are expanded when an instruction is applied, see [`super::expansion`].

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// The words of a command. Empty: no command.
    Cmd(Vec<String>),
    /// Like `Cmd`.
    Entrypoint(Vec<String>),
    /// Names and values, unexpanded.
    Env(Vec<(String, String)>),
    /// Like `Env`.
    Label(Vec<(String, String)>),
    /// Ports and ranges of ports, with or without a protocol.
    Expose(Vec<String>),
    /// Paths. Those of a JSON list are literal; they are quoted here so that expansion leaves them unchanged.
    Volume(Vec<String>),
    /// A user, with or without a group.
    User(String),
    /// A directory.
    Workdir(String),
    /// A signal by name or number.
    Stopsignal(String),
}

/// An instruction that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The instruction, without line breaks.
    pub line: String,
    /// What is wrong.
    pub reason: String,
}

/// The known instructions, as part of an error.
const KNOWN: &str = "expected CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR and its value";

/// An instruction and the text that it was read from.
pub type Typed = (Instruction, String);

/// A parsed text and its escape character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The instructions, in order.
    pub instructions: Vec<Typed>,
    /// A backslash, or the character of the directive `# escape=`.
    pub escape: char,
}

impl Dockerfile {
    /// Reads instructions, one per line. Skips empty lines and comments.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let escape = escape_character(text)?;
        let mut instructions = vec![];
        for line in logical_lines(text, escape) {
            let instruction = instruction(&line, escape).map_err(|reason| Problem {
                line: line.clone(),
                reason,
            })?;
            instructions.push((instruction, line));
        }
        Ok(Self {
            instructions,
            escape,
        })
    }
}

/// The directive `# escape=`, which is only valid at the beginning.
fn escape_character(text: &str) -> Result<char, Problem> {
    for line in text.lines() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|directive| directive.split_once('='))
        else {
            break;
        };
        let name = name.trim();
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            break;
        }
        if name.eq_ignore_ascii_case("escape") {
            return match value.trim() {
                "\\" => Ok('\\'),
                "`" => Ok('`'),
                _ => Err(Problem {
                    line: line.trim().to_owned(),
                    reason: "expected \\ or `".to_owned(),
                }),
            };
        }
    }
    Ok('\\')
}

/// Joins lines that end in the escape character. Drops comments and empty lines, also between the parts of a line.
fn logical_lines(text: &str, escape: char) -> Vec<String> {
    let mut lines = vec![];
    let mut begun: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (part, goes_on) = match line.trim_end().strip_suffix(escape) {
            Some(part) => (part, true),
            None => (line, false),
        };
        let line = match begun.take() {
            Some(before) => before + part,
            None => part.trim_start().to_owned(),
        };
        match goes_on {
            true => begun = Some(line),
            false => lines.push(line),
        }
    }
    lines.extend(begun);
    lines
        .into_iter()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn instruction(line: &str, escape: char) -> Result<Instruction, String> {
    let end = line
        .find(|letter: char| !letter.is_ascii_alphabetic())
        .unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let word = word.to_ascii_uppercase();
    // Like podman, accepts `CMD=sh`.
    let value = match rest.strip_prefix('=') {
        Some(value) => value.trim(),
        None if rest.starts_with(char::is_whitespace) || rest.is_empty() => rest.trim(),
        None => return Err(KNOWN.to_owned()),
    };
    let given = || match value.is_empty() {
        true => Err(format!("{word} needs a value")),
        false => Ok(value.to_owned()),
    };
    match word.as_str() {
        "CMD" => command(&given()?).map(Instruction::Cmd),
        "ENTRYPOINT" => command(&given()?).map(Instruction::Entrypoint),
        "ENV" => pairs(&word, &given()?, escape).map(Instruction::Env),
        "LABEL" => pairs(&word, &given()?, escape).map(Instruction::Label),
        "EXPOSE" => Ok(Instruction::Expose(words(&given()?, escape))),
        "VOLUME" => match list(&given()?)? {
            Some(paths) => Ok(Instruction::Volume(
                paths.iter().map(|path| quoted(path, escape)).collect(),
            )),
            None => Ok(Instruction::Volume(words(value, escape))),
        },
        "USER" => given().map(Instruction::User),
        "WORKDIR" => given().map(Instruction::Workdir),
        "STOPSIGNAL" => given().map(Instruction::Stopsignal),
        "ONBUILD" | "HEALTHCHECK" => Err(format!("{word} cannot be stored in an OCI image")),
        "ADD" | "ARG" | "COPY" | "FROM" | "MAINTAINER" | "RUN" | "SHELL" => {
            Err(format!("{word} is only for builds: {KNOWN}"))
        }
        _ => Err(KNOWN.to_owned()),
    }
}

/// A JSON list of strings, or a line for the shell.
fn command(value: &str) -> Result<Vec<String>, String> {
    Ok(list(value)?
        .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), value.to_owned()]))
}

/// Reads a JSON list of strings. `None` if the text is not a JSON list.
fn list(value: &str) -> Result<Option<Vec<String>>, String> {
    if !value.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(value) {
        Err(_) => Ok(None),
        Ok(items) => items
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .map(Some)
            .ok_or_else(|| "a JSON list may contain only strings".to_owned()),
    }
}

/// Quotes a text so that it expands to itself.
fn quoted(text: &str, escape: char) -> String {
    let special = |letter: char| letter == escape || matches!(letter, '\'' | '"' | '$');
    text.chars()
        .flat_map(|letter| {
            special(letter)
                .then_some(escape)
                .into_iter()
                .chain([letter])
        })
        .collect()
}

/// Reads `K=V K=V`, or the old form with one name and the rest as its value.
fn pairs(word: &str, value: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = words(value, escape);
    let modern = words.first().is_some_and(|first| first.contains('='));
    if !modern {
        let pair = value.split_once(char::is_whitespace);
        let (name, value) = pair.ok_or_else(|| format!("{word} needs a name and a value, K=V"))?;
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |text: &String| match text.split_once('=') {
        Some(("", _)) => Err(format!("{text} has no name, expected K=V")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("{text} has no =, expected K=V")),
    };
    words.iter().map(pair).collect()
}

/// The words of a line, with their quotes and escapes. They are separated by spaces that are neither quoted nor escaped.
fn words(text: &str, escape: char) -> Vec<String> {
    let mut words = vec![];
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(letter);
        match quote {
            // There are no escapes between single quotes.
            _ if letter == escape && quote != Some('\'') => word.extend(letters.next()),
            Some(open) if letter == open => quote = None,
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use Instruction::{Cmd, Entrypoint, Env, Expose, Label, Stopsignal, User, Volume, Workdir};

    fn read(text: &str) -> Vec<Instruction> {
        let read = Dockerfile::read(text).unwrap().instructions;
        read.into_iter()
            .map(|(instruction, _)| instruction)
            .collect()
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn both(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn commands() {
        assert_eq!(read(r#"CMD ["a", "b c"]"#), [Cmd(texts(&["a", "b c"]))]);
        assert_eq!(read("cmd=sh"), [Cmd(texts(&["/bin/sh", "-c", "sh"]))]);
        assert_eq!(read("ENTRYPOINT []"), [Entrypoint(vec![])]);
        let shell = r#"echo "$HOME" 'a  b'"#;
        assert_eq!(
            read(&format!("CMD {shell}")),
            [Cmd(texts(&["/bin/sh", "-c", shell]))]
        );
        // Not JSON: passed to the shell as it is.
        assert_eq!(read("CMD ['a']"), [Cmd(texts(&["/bin/sh", "-c", "['a']"]))]);
        assert_eq!(
            read("CMD [ -f x ]"),
            [Cmd(texts(&["/bin/sh", "-c", "[ -f x ]"]))]
        );
    }

    #[test]
    fn pairs_in_both_forms() {
        let env = |text: &str, pairs: &[(&str, &str)]| {
            assert_eq!(read(text), [Env(both(pairs))], "{text}")
        };
        env(
            r#"ENV A=b C="d e" F=g\ h"#,
            &[("A", "b"), ("C", "\"d e\""), ("F", "g\\ h")],
        );
        env("ENV A=", &[("A", "")]);
        env(
            "ENV A='b \\' C=\"x\\\" y\"",
            &[("A", "'b \\'"), ("C", "\"x\\\" y\"")],
        );
        env("ENV A b c  d", &[("A", "b c  d")]);
        env("ENV A  b=c", &[("A", "b=c")]);
        env("env A=b=c\tD=$E", &[("A", "b=c"), ("D", "$E")]);
        assert_eq!(
            read(r#"LABEL a=b "c d"="e f""#),
            [Label(both(&[("a", "b"), ("\"c d\"", "\"e f\"")]))]
        );
    }

    #[test]
    fn lists_and_single_values() {
        assert_eq!(read("EXPOSE 80 53/udp"), [Expose(texts(&["80", "53/udp"]))]);
        assert_eq!(read("VOLUME /a /b"), [Volume(texts(&["/a", "/b"]))]);
        assert_eq!(
            read(r#"VOLUME ["/a b", "/$x"]"#),
            [Volume(texts(&["/a b", "/\\$x"]))]
        );
        assert_eq!(read("USER web:web"), [User("web:web".into())]);
        assert_eq!(read("WORKDIR a b"), [Workdir("a b".into())]);
        assert_eq!(read("STOPSIGNAL QUIT"), [Stopsignal("QUIT".into())]);
    }

    #[test]
    fn lines_comments_and_escapes() {
        let text = "# a comment\n\n  USER a \n ENV A=b \\\n# between\n\n  C=d\nCMD x # y";
        let expected = [
            User("a".into()),
            Env(both(&[("A", "b"), ("C", "d")])),
            Cmd(texts(&["/bin/sh", "-c", "x # y"])),
        ];
        assert_eq!(read(text), expected);
        let text = "# syntax=x\n# escape=`\nENV A=b`\n C=\\d`";
        assert_eq!(read(text), [Env(both(&[("A", "b"), ("C", "\\d")]))]);
        assert_eq!(Dockerfile::read("#escape=`\nUSER x").unwrap().escape, '`');
        // After anything else it is a comment.
        assert_eq!(
            Dockerfile::read("# x\n# escape=`\nUSER x").unwrap().escape,
            '\\'
        );
        assert_eq!(read("USER a\\"), [User("a".into())]);
        assert!(read("\n# only\n").is_empty());
    }

    #[test]
    fn a_refusal_names_the_instruction() {
        for (text, line, reason) in [
            ("CMD", "CMD", "CMD needs a value"),
            ("USER x\nENV", "ENV", "ENV needs a value"),
            ("ENV x", "ENV x", "K=V"),
            ("ENV A=b c", "ENV A=b c", "c has no ="),
            ("ENV =b", "ENV =b", "=b has no name"),
            ("LABEL a", "LABEL a", "LABEL needs a name and a value"),
            ("CMD [1]", "CMD [1]", "only strings"),
            ("FROM x", "FROM x", "FROM is only for builds"),
            ("ONBUILD RUN x", "ONBUILD RUN x", "ONBUILD cannot be stored"),
            (
                "HEALTHCHECK NONE",
                "HEALTHCHECK NONE",
                "HEALTHCHECK cannot be stored",
            ),
            ("FROB x", "FROB x", "expected CMD"),
            ("USER-x y", "USER-x y", "expected CMD"),
            ("# escape=x", "# escape=x", "expected \\ or `"),
        ] {
            let problem = Dockerfile::read(text).unwrap_err();
            assert_eq!(problem.line, line);
            assert!(problem.reason.contains(reason), "{text}: {problem:?}");
        }
    }
}
