//! `box run` read by hand. To define the options of that verb for clap and to throw them away again takes longer than all
//! else that box itself does for a start, and this is the verb that people wait for. What is not understood here, every
//! refusal included, is left to the whole definition; a test holds the two readings to each other.

use std::ffi::OsString;

use crate::command_line::args::{Args, Command};
use crate::commands::containers::run;
use crate::options::flag::Slot;
use crate::options::globals::Globals;

/// What the whole definition would have read; none where the words are not of the common kind.
pub fn read(words: &[OsString]) -> Option<Args> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let mut words = words?.into_iter().skip(1);
    let mut reading = Reading::default();
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            reading.option(word, &mut words)?;
        } else if reading.verb {
            return reading.finish(word, words);
        } else if word == "run" {
            reading.verb = true;
        } else {
            return None;
        }
    }
    None
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    globals: Globals,
    args: Box<run::Args>,
    verb: bool,
}

impl Reading {
    fn option<'w>(
        &mut self,
        word: &'w str,
        rest: &mut impl Iterator<Item = &'w str>,
    ) -> Option<()> {
        if word.starts_with("--") {
            return match word.split_once('=') {
                Some((flag, value)) => self.slot(flag)?.take(value),
                None => self.slot(word)?.fill(rest),
            };
        }
        if word.len() <= 2 {
            return self.slot(word)?.fill(rest);
        }
        // Several letters in one word: switches alone, such as -it.
        word.chars().skip(1).try_for_each(|letter| {
            let slot = self.slot(&format!("-{letter}"))?;
            matches!(slot, Slot::Switch(_)).then(|| slot.fill(rest))?
        })
    }

    fn slot(&mut self, flag: &str) -> Option<Slot<'_>> {
        let Reading {
            globals,
            args,
            verb,
        } = self;
        globals
            .slot(flag)
            .or_else(|| verb.then(|| args.slot(flag))?)
    }

    fn finish<'w>(mut self, image: &str, command: impl Iterator<Item = &'w str>) -> Option<Args> {
        let words = self.args.words();
        words.push(image.to_owned());
        words.extend(command.map(str::to_owned));
        // What that word means depends on where it stands.
        (!words.iter().any(|word| word == "--")).then_some(Args {
            globals: self.globals,
            command: Command::Run(self.args),
        })
    }
}

#[cfg(test)]
mod tests;
