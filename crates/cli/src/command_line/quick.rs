//! Reads the common command lines of `box run` without clap. Building clap's definition of that command, and dropping it again, takes
//! longer than everything else that box itself does to start a container, and users wait for this command. Anything that is not
//! recognised here is left to clap, including every error; `quick/tests/definition.rs` compares the two readers for every flag.

use std::ffi::OsString;

use crate::command_line::args::{Args, Command};
use crate::commands::containers::run;
use crate::options::flag::Slot;
use crate::options::globals::Globals;

/// Reads what clap would have read. `None` if the line is to be left to clap.
pub fn read(words: &[OsString]) -> Option<Args> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let mut words = words?.into_iter().skip(1);
    let mut reading = Reading::default();
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            reading.option(word, &mut words)?;
        } else if reading.has_command {
            return reading.finish(word, words);
        } else if word == "run" {
            reading.has_command = true;
        } else {
            return None;
        }
    }
    None
}

/// The arguments read so far.
#[derive(Default)]
struct Reading {
    globals: Globals,
    args: Box<run::Args>,
    has_command: bool,
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
        // Several letters in one word, such as -it: only switches.
        word.chars().skip(1).try_for_each(|letter| {
            let slot = self.slot(&format!("-{letter}"))?;
            matches!(slot, Slot::Switch(_)).then(|| slot.fill(rest))?
        })
    }

    fn slot(&mut self, flag: &str) -> Option<Slot<'_>> {
        let Reading {
            globals,
            args,
            has_command,
        } = self;
        globals
            .slot(flag)
            .or_else(|| has_command.then(|| args.slot(flag))?)
    }

    fn finish<'w>(mut self, image: &str, command: impl Iterator<Item = &'w str>) -> Option<Args> {
        let words = self.args.words();
        words.push(image.to_owned());
        words.extend(command.map(str::to_owned));
        // The meaning of this word depends on its position.
        (!words.iter().any(|word| word == "--")).then_some(Args {
            globals: self.globals,
            command: Command::Run(self.args),
        })
    }
}

#[cfg(test)]
mod tests;
