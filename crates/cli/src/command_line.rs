//! Reads the command line, or refuses it in box's own form: one `error:` line and one `hint:` line.

pub mod args;
pub mod completion;
pub mod dispatch;
mod quick;
mod switches;

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::command_line::args::Args;
use crate::output;
use crate::report::Failure;

/// Reads the arguments of the process. Prints the output of `--help` and `--version` and then returns a silent success.
pub fn read() -> Result<Args, Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    match quick::read(&words) {
        Some(args) => Ok(args),
        None => Args::try_parse_from(&words)
            .or_else(|error| match switches::may_be_in(&words) {
                true => switches::read(&words),
                false => Err(error),
            })
            .map_err(refusal),
    }
}

fn refusal(error: clap::Error) -> Failure {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match output::text(&error.render().to_string()) {
                Ok(()) => Failure::silent(0),
                Err(failure) => failure,
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Failure::new("no command given")
            .hint("see 'box --help', or begin with: box run -it --rm alpine"),
        _ => worded(&error),
    }
}

/// Turns clap's message into one line, and its tip into the hint.
fn worded(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let what = joined(paragraphs.next().unwrap_or_default());
    let what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    let tip = paragraphs.find_map(|paragraph| {
        let line = joined(paragraph);
        // Only the first tip is about this mistake.
        let tip = line.strip_prefix("tip: ")?;
        Some(tip.split(" tip: ").next().unwrap_or(tip).to_owned())
    });
    // An unknown flag was meant as a flag, not as a value: no name of an image or a container begins with a dash.
    let tip = tip.filter(|tip| !tip.starts_with("to pass '"));
    let help = format!("see '{} --help'", command(error));
    Failure::new(what).hint(match tip {
        Some(tip) => format!("{tip}; {help}"),
        None => help,
    })
}

fn joined(paragraph: &str) -> String {
    paragraph
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// `box`, or `box COMMAND` if the command was recognised: the lower-case words at the start of the usage.
fn command(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words: Vec<&str> = usage
        .trim_start_matches("Usage:")
        .split_whitespace()
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        .filter(|word| !word.starts_with('-'))
        .take(2)
        .collect();
    match words.is_empty() {
        true => "box".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    fn refused(line: &str) -> String {
        let words = line.split(' ');
        format!("{:?}", refusal(Args::try_parse_from(words).unwrap_err()))
    }

    #[test]
    fn the_definitions_are_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_refusal_is_one_line_with_a_hint() {
        let text = refused("box run --romm alpine");
        assert!(
            text.contains("unexpected argument '--romm' found"),
            "{text}"
        );
        assert!(
            text.contains("'--rm' exists") || text.contains("similar argument exists: '--rm'"),
            "{text}"
        );
        assert!(text.contains("see 'box run --help'"), "{text}");
        assert!(!text.contains("tip:"), "{text}");
        let text = refused("box pull");
        assert!(
            text.contains("required arguments were not provided: <IMAGE>"),
            "{text}"
        );
        for line in ["box run -p 80:80 alpine", "box start --verify off x"] {
            let text = refused(line);
            assert!(text.contains("unexpected argument '-"), "{text}");
            assert!(!text.contains("as a value"), "{text}");
        }
        let text = refused("box frobnicate");
        assert!(text.contains("see 'box --help'"), "{text}");
    }

    #[test]
    fn options_end_at_the_image() {
        let args =
            Args::try_parse_from(["box", "run", "--rm", "alpine", "ls", "--rm", "--root", "-q"])
                .unwrap();
        assert!(args.globals.root.is_none() && !args.globals.quiet);
    }
}
