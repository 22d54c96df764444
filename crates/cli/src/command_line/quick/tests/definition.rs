//! Walks clap's own definition of `box run` and compares the tables of the quick reader with it: names, arity, parsers, repetition,
//! conflicts and requirements of every flag.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, Command as Definition, CommandFactory};

use super::*;
use crate::options::globals::Globals;

/// The first names of the flags of `box run` that are left to clap: rare ones, and those whose values clap checks. A new flag must be
/// added either here or to a table.
const LEFT: &[&str] = &[
    "--annotation",
    "--arch",
    "--authfile",
    "--blkio-weight",
    "--ca-cert",
    "--cgroup-parent",
    "--cgroupns",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpu-weight",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--device",
    "--device-read-bps",
    "--device-read-iops",
    "--device-write-bps",
    "--device-write-iops",
    "--domainname",
    "--dry-run",
    "--env-file",
    "--group-add",
    "--help",
    "--kill-after",
    "--lock",
    "--locked",
    "--memory-reservation",
    "--memory-swap",
    "--mirror",
    "--no-pivot",
    "--oom-score-adj",
    "--personality",
    "--pids-limit",
    "--preserve-fds",
    "--progress",
    "--pull",
    "--report",
    "--retries",
    "--shm-size",
    "--stall-timeout",
    "--stop-signal",
    "--storage",
    "--sysctl",
    "--time",
    "--umask",
    "--uts",
    "--verify",
];

/// Values of many shapes, so that every parser which refuses or changes values does so with some of them.
const VALUES: &[&str] = &[
    "x", "1", "0", "-1", "-x", "-", "--", "a,b", ",", "a=b", "=", "a:b", ":", "/p", "é", " ", "5s",
    "64m", "true", "none", "A",
];

/// One flag as clap defines it.
struct Defined {
    names: Vec<String>,
    has_value: bool,
    global: bool,
}

impl Defined {
    fn of(argument: &Arg) -> Defined {
        let long = argument.get_long().into_iter();
        let long = long.chain(argument.get_all_aliases().into_iter().flatten());
        let short = argument.get_short().into_iter();
        let short = short.chain(argument.get_all_short_aliases().into_iter().flatten());
        Defined {
            names: long
                .map(|name| format!("--{name}"))
                .chain(short.map(|letter| format!("-{letter}")))
                .collect(),
            has_value: argument.get_action().takes_values(),
            global: argument.is_global_set(),
        }
    }

    fn is_quick(&self) -> bool {
        self.names
            .iter()
            .any(|name| quick_names().contains(&**name))
    }

    /// The words that give the flag, by one of its names, with a value that every flag of a table takes.
    fn given(&self, name: &str) -> Vec<String> {
        let value = self.has_value.then(|| "x".to_owned());
        [name.to_owned()].into_iter().chain(value).collect()
    }

    /// All ways to write the flag: alone, with a value in each form, and twice.
    fn spellings(&self, name: &str) -> Vec<Vec<String>> {
        let mut all = vec![
            vec![name.to_owned()],
            vec![name.to_owned(), name.to_owned()],
        ];
        for value in VALUES {
            let apart = vec![name.to_owned(), (*value).to_owned()];
            let joined = [format!("{name}={value}"), format!("{name}{value}")];
            all.push([apart.clone(), apart.clone()].concat());
            all.push([apart.clone(), vec![joined[0].clone()]].concat());
            all.push(apart);
            all.extend(joined.map(|word| vec![word]));
        }
        all
    }
}

fn definition() -> Vec<Defined> {
    let mut all: Definition = Args::command();
    all.build();
    let run = all.find_subcommand("run").unwrap();
    let flags = run
        .get_arguments()
        .filter(|argument| !argument.is_positional());
    flags.map(Defined::of).collect()
}

fn quick_names() -> BTreeSet<&'static str> {
    let globals = Globals::flag_names();
    globals.into_iter().chain(run::Args::flag_names()).collect()
}

/// Asserts that the quick reader reads a line like clap, or leaves it to clap. Returns whether each of them reads it.
#[track_caller]
fn agree(front: &[String], options: &[String]) -> (bool, bool) {
    let front = front.iter().map(String::as_str);
    let options = options.iter().map(String::as_str);
    let line = ["box"]
        .into_iter()
        .chain(front)
        .chain(["run"])
        .chain(options);
    let line = words(line.chain(["alpine", "sh"]));
    let (quick, whole) = both(&line);
    if quick.is_some() {
        assert_eq!(quick, whole, "{line:?}");
    }
    (quick.is_some(), whole.is_some())
}

#[test]
fn each_flag_is_in_a_table_or_left_to_clap() {
    let flags = definition();
    let quick = quick_names();
    let mut left = BTreeSet::new();
    let mut defined = BTreeSet::new();
    for flag in &flags {
        let (known, other): (Vec<_>, Vec<_>) =
            flag.names.iter().partition(|name| quick.contains(&***name));
        assert!(
            known.is_empty() || other.is_empty(),
            "{known:?} is read by hand, and {other:?} is not"
        );
        if known.is_empty() {
            left.insert(flag.names[0].as_str());
        }
        defined.extend(known.into_iter().map(String::as_str));
    }
    assert_eq!(
        defined, quick,
        "the tables have names that clap does not define"
    );
    assert_eq!(
        left,
        LEFT.iter().copied().collect(),
        "a flag is neither in a table nor in LEFT"
    );
}

#[test]
fn each_flag_is_read_as_clap_reads_it() {
    for flag in definition().iter().filter(|flag| flag.is_quick()) {
        for name in &flag.names {
            assert_eq!(agree(&[], &flag.given(name)), (true, true), "{name} alone");
            for words in flag.spellings(name) {
                agree(&[], &words);
            }
            let front = agree(&flag.given(name), &[]);
            assert_eq!(
                front,
                (flag.global, flag.global),
                "{name} before the command"
            );
        }
    }
}

#[test]
fn each_pair_of_flags_is_read_as_clap_reads_it() {
    let flags = definition();
    let quick: Vec<_> = flags.iter().filter(|flag| flag.is_quick()).collect();
    for first in &quick {
        for second in quick.iter().filter(|second| second.names != first.names) {
            let (first, second) = (first.given(&first.names[0]), second.given(&second.names[0]));
            let both = [first, second].concat();
            let (quick, whole) = agree(&[], &both);
            assert_eq!(quick, whole, "{both:?}");
        }
    }
}

#[test]
fn letters_in_one_word_are_read_as_clap_reads_them() {
    let flags = definition();
    let short = flags.iter().flat_map(|flag| &flag.names);
    let short: Vec<_> = short.filter(|name| !name.starts_with("--")).collect();
    assert!(short.len() > 8, "{short:?}");
    for first in &short {
        for second in &short {
            let word = format!("{first}{}", &second[1..]);
            agree(&[], std::slice::from_ref(&word));
            agree(&[], &[word, "x".to_owned()]);
        }
    }
}

/// The quick reader would miss values that do not come from the command line.
#[test]
fn no_flag_of_a_table_has_a_default_or_a_variable() {
    let mut all: Definition = Args::command();
    all.build();
    let run = all.find_subcommand("run").unwrap();
    for argument in run
        .get_arguments()
        .filter(|argument| Defined::of(argument).is_quick())
    {
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
        assert!(argument.get_env().is_none(), "{argument}");
        assert!(
            is_switch || argument.get_default_values().is_empty(),
            "{argument}"
        );
    }
}
