//! Switches with a value, as users of docker write them: `--rm=true`, `--tty=false`, `-it=false`.
//!
//! The regular definitions have switches without values, so that help, completions and manual pages show the usual form. A line that
//! contains a switch with a value is read with definitions that differ only in this point, for all commands and all switches.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::command_line::args::Args;

/// Whether a word of the line could be a switch with a value.
pub fn may_be_in(words: &[OsString]) -> bool {
    words.iter().any(|word| {
        let word = word.as_encoded_bytes();
        word.starts_with(b"-") && word.contains(&b'=')
    })
}

/// Reads a line in which switches may have values. The last occurrence of a switch wins.
pub fn read(words: &[OsString]) -> Result<Args, clap::Error> {
    let mut plain = Args::command();
    plain.build();
    let matches = match with_values(plain.clone()).try_get_matches_from(words) {
        Ok(matches) => matches,
        // Help is printed from the regular definitions.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let command = words.iter().filter_map(|word| word.to_str());
            let command = command
                .skip(1)
                .find(|word| plain.find_subcommand(word).is_some());
            let line = ["box"].into_iter().chain(command).chain(["--help"]);
            return Args::command()
                .try_get_matches_from(line)
                .and_then(|matches| Args::from_arg_matches(&matches));
        }
        Err(error) => return Err(error),
    };
    check_conflicts(&mut plain, &matches)?;
    Args::from_arg_matches(&matches)
}

/// The definitions in which all switches take a value.
fn with_values(command: Command) -> Command {
    command
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => with_value(argument),
            _ => argument,
        })
        .mut_subcommands(with_values)
}

fn with_value(argument: Arg) -> Arg {
    let id = argument.get_id().clone();
    argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_name("BOOL")
        .value_parser(truth)
        .overrides_with(id)
        // A switch that is off conflicts with nothing.
        .conflicts_with(Resettable::<clap::Id>::Reset)
}

/// Booleans as Go's flag package reads them, strconv.ParseBool.
fn truth(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// Refuses conflicts between switches that are on.
fn check_conflicts(plain: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    let Some(command) = plain.find_subcommand_mut(name) else {
        return Ok(());
    };
    match conflict(command, matches) {
        Some(reason) => Err(command.error(ErrorKind::ArgumentConflict, reason)),
        None => Ok(()),
    }
}

fn conflict(command: &Command, matches: &ArgMatches) -> Option<String> {
    let is_switch = |argument: &Arg| matches!(argument.get_action(), ArgAction::SetTrue);
    let is_on = |argument: &Arg| {
        let id = argument.get_id().as_str();
        let given = matches.value_source(id) == Some(ValueSource::CommandLine);
        given && (!is_switch(argument) || matches.get_flag(id))
    };
    let arguments = command.get_arguments();
    let mut switches = arguments.filter(|argument| is_switch(argument) && is_on(argument));
    switches.find_map(|switch| {
        let conflicts = command.get_arg_conflicts_with(switch);
        let other = conflicts.into_iter().find(|other| is_on(other))?;
        Some(format!(
            "the argument '{switch}' cannot be used with '{other}'"
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[track_caller]
    fn same(line: &str, plain: &str) {
        assert!(may_be_in(&words(line)), "{line}");
        let read = read(&words(line)).map(|args| format!("{args:?}"));
        let plain = Args::try_parse_from(words(plain)).unwrap();
        assert_eq!(
            read.map_err(|error| error.to_string()),
            Ok(format!("{plain:?}")),
            "{line}"
        );
    }

    #[test]
    fn a_switch_with_a_value_is_on_or_off() {
        for (line, plain) in [
            ("box run --rm=true alpine", "box run --rm alpine"),
            ("box run --rm=false alpine", "box run alpine"),
            (
                "box run --rm=1 --init=T --read-only=TRUE alpine",
                "box run --rm --init --read-only alpine",
            ),
            (
                "box run --rm=0 --init=f --read-only=False alpine",
                "box run alpine",
            ),
            ("box run -t=false -i=true alpine", "box run -i alpine"),
            ("box run -it=false alpine", "box run -i alpine"),
            (
                "box run -it --rm=true alpine sh",
                "box run -it --rm alpine sh",
            ),
            ("box run --rm=true --rm=false alpine", "box run alpine"),
            ("box run --rm=false --rm alpine", "box run --rm alpine"),
            (
                "box run --rm -it --net=none alpine true",
                "box run --rm -it --net none alpine true",
            ),
            (
                "box run -d=false --report /r alpine",
                "box run --report /r alpine",
            ),
            (
                "box run --rm=true alpine sh -c=x --rm=maybe",
                "box run --rm alpine sh -c=x --rm=maybe",
            ),
            (
                "box run -e=A=1 --tty=true alpine",
                "box run -e A=1 -t alpine",
            ),
            ("box --quiet=true run alpine", "box -q run alpine"),
            ("box ps --all=true -q=false", "box ps -a"),
            ("box exec -d=false -t web sh", "box exec -t web sh"),
            (
                "box exec --tty=false web -x -t=maybe",
                "box exec web -x -t=maybe",
            ),
            ("box rm --force=true web", "box rm -f web"),
            ("box cp -a=true a web:/b", "box cp -a a web:/b"),
        ] {
            same(line, plain);
        }
    }

    /// Every switch of every command, by all its names.
    #[test]
    fn all_switches_are_understood() {
        let mut plain = Args::command();
        plain.build();
        let mut switches = 0;
        for verb in plain.get_subcommands() {
            let required = verb
                .get_positionals()
                .filter(|argument| argument.is_required_set())
                .flat_map(|argument| {
                    let least = argument
                        .get_num_args()
                        .map_or(1, |count| count.min_values());
                    std::iter::repeat_n("x", least.max(1))
                });
            let required: Vec<&str> = required.collect();
            let all = verb.get_arguments();
            for switch in all.filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
            {
                switches += 1;
                let long = switch.get_long_and_visible_aliases().unwrap_or_default();
                let long = long.into_iter().map(|name| format!("--{name}"));
                let short = switch.get_short().map(|name| format!("-{name}"));
                for name in long.chain(short) {
                    let line = |value: &str| {
                        let mut line = vec![
                            "box".to_owned(),
                            verb.get_name().to_owned(),
                            format!("{name}{value}"),
                        ];
                        line.extend(required.iter().map(|&word| word.to_owned()));
                        line
                    };
                    let outcome = |words: Vec<String>| {
                        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
                        read(&words)
                            .map(|args| format!("{args:?}"))
                            .map_err(|error| error.to_string())
                    };
                    let on = Args::try_parse_from(line("")).map(|args| format!("{args:?}"));
                    let on = on.map_err(|error| error.to_string());
                    if let Err(error) = &on {
                        // The error is about a value, not about the switch.
                        assert!(
                            error.contains("'x'") || error.contains("required"),
                            "{error}"
                        );
                        continue;
                    }
                    assert_eq!(outcome(line("=true")), on);
                    assert_ne!(outcome(line("=false")), on);
                    let refused = outcome(line("=yes")).unwrap_err();
                    assert!(refused.contains("expected true or false"), "{refused}");
                }
            }
        }
        assert!(switches > 100, "{switches}");
    }

    #[test]
    fn errors_name_the_mistake() {
        for (line, expected) in [
            ("box run --rm=yes alpine", "expected true or false"),
            ("box run --rm= alpine", "--rm"),
            ("box run --romm=true alpine", "unexpected argument '--romm'"),
            ("box run -d=true --report /r alpine", "cannot be used with"),
            (
                "box exec -d=true -t=true web sh",
                "'--detach' cannot be used with '--tty'",
            ),
            ("box run --rm=true", "required arguments were not provided"),
            ("box run --rm=true --help", "Usage: box run"),
        ] {
            let error = read(&words(line)).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(
                !error.contains("BOOL")
                    || error.contains("invalid value")
                    || line.contains("--rm= "),
                "{error}"
            );
        }
    }
}
