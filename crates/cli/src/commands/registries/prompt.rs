//! Questions at the terminal of the user, wherever stdin and stdout go.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::interrupt::Interrupts;
use crate::report::{Failure, cause, printable};

/// The longest answer: tokens of identity providers have thousands of characters.
const LONGEST: usize = 64 << 10;

/// What a terminal sends for the keys that edit a line.
const ERASE: [u8; 2] = [0x7f, 0x08];
const KILL: u8 = 0x15;
const END: u8 = 0x04;

/// Asks for a line.
pub fn line(question: &str) -> Result<String, Failure> {
    ask(question, false)
}

/// Asks for a line that is not shown.
pub fn secret(question: &str) -> Result<String, Failure> {
    ask(question, true)
}

fn ask(question: &str, hidden: bool) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        let what = question.trim_end_matches([':', ' ']).to_lowercase();
        Failure::new(format!("cannot ask for the {what}: {}", cause(&error)))
            .hint("without a terminal: box login -u USER --password-stdin HOST")
    };
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(failed)?;
    // A signal must not end box while the terminal shows nothing.
    let signals = Interrupts::hold().map_err(failed)?;
    let answer = read(&terminal, question, &signals, hidden);
    signals.finish().map_err(failed)?;
    let answer = answer.map_err(failed)?;
    String::from_utf8(answer).map_err(|_| failed(io::Error::other("it is not UTF-8")))
}

fn read(
    mut terminal: &File,
    question: &str,
    signals: &Interrupts,
    hidden: bool,
) -> io::Result<Vec<u8>> {
    // Before the question, as an answer may come at once.
    let _quiet = hidden.then(|| Quiet::make(terminal)).transpose()?;
    terminal.write_all(printable(question).as_bytes())?;
    let waits_on = terminal.as_fd().try_clone_to_owned()?;
    let mut keys = signals.watch(terminal.try_clone()?, Some(waits_on))?;
    let mut answer = Vec::new();
    let mut key = [0; 1];
    loop {
        if keys.read(&mut key)? == 0 {
            break;
        }
        match key[0] {
            b'\n' | b'\r' => break,
            END if hidden => break,
            KILL if hidden => answer.clear(),
            c if hidden && ERASE.contains(&c) => {
                // A whole character.
                while answer.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            c if answer.len() < LONGEST => answer.push(c),
            _ => return Err(io::Error::other("the answer is too long")),
        }
    }
    if hidden {
        terminal.write_all(b"\n")?;
    }
    Ok(answer)
}

/// A terminal that shows nothing of what is typed, and hands it over key by key: by lines, it would cut them at 4095 bytes, termios(3).
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn make(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}
