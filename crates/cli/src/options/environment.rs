//! `-e` and `--env-file`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::report::{Failure, cause};

/// The caller's own environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads the variables of files and then of flags; a later value wins. A name alone takes the caller's value, and is left out if the
/// caller has none.
pub fn read(
    files: &[PathBuf],
    flags: &[String],
    caller: Lookup<'_>,
) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for file in files {
        read_file(file, caller, &mut variables)?;
    }
    for flag in flags {
        variable(flag, caller, &mut variables)
            .map_err(|why| Failure::new(format!("-e {flag}: {why}")))?;
    }
    Ok(variables)
}

/// Reads lines as docker does: `K=V` with a literal V, `K`, or a comment that starts with `#`.
fn read_file(
    path: &Path,
    caller: Lookup<'_>,
    variables: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!(
            "cannot read --env-file {}: {}",
            path.display(),
            cause(&error)
        ))
    })?;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        variable(line, caller, variables).map_err(|why| {
            Failure::new(format!("{}: line {}: {why}", path.display(), number + 1))
        })?;
    }
    Ok(())
}

fn variable(
    text: &str,
    caller: Lookup<'_>,
    variables: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the name of a variable cannot be empty or contain spaces".to_owned());
    }
    let value = match value {
        Some(value) => Some(value),
        None => caller(name)
            .map(|value| {
                value
                    .into_string()
                    .map_err(|_| format!("the value of {name} is not UTF-8"))
            })
            .transpose()?,
    };
    match value {
        Some(value) if value.contains('\0') => {
            Err(format!("the value of {name} contains a NUL byte"))
        }
        Some(value) => {
            variables.push((name.to_owned(), value));
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flags(texts: &[&str]) -> Result<Vec<(String, String)>, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        read(&[], &texts, &|name| {
            (name == "MINE").then(|| "from the caller".into())
        })
    }

    #[test]
    fn a_name_alone_takes_the_callers_value() {
        let got = flags(&["A=1", "B=", "C=x=y", "MINE", "NOBODYS"]).unwrap();
        let expected = [
            ("A", "1"),
            ("B", ""),
            ("C", "x=y"),
            ("MINE", "from the caller"),
        ];
        assert_eq!(got, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_name_has_no_spaces() {
        for text in ["", "=1", "A B=1", "A\t=1", "A\n"] {
            assert!(flags(&[text]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_has_comments_and_raw_values() {
        let dir = std::env::temp_dir().join(format!("box-env-{}", std::process::id()));
        std::fs::write(&dir, "# a comment\n\nA='quoted' # kept\n  B=2\nMINE\n").unwrap();
        let got = read(std::slice::from_ref(&dir), &["A=flag".to_owned()], &|_| {
            Some("c".into())
        })
        .unwrap();
        let names: Vec<_> = got.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(names, ["A='quoted' # kept", "B=2", "MINE=c", "A=flag"]);
        std::fs::write(&dir, "A=1\nB C=2\n").unwrap();
        let why = read(std::slice::from_ref(&dir), &[], &|_| None).unwrap_err();
        assert!(format!("{why:?}").contains("line 2"), "{why:?}");
        std::fs::remove_file(&dir).unwrap();
    }
}
