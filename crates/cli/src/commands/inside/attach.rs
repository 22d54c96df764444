//! `box attach`.

use box_run::Instance;
use box_run::attach::{self, Left, Options, Output};

use clap_complete::ArgValueCandidates;

use crate::commands::containers::wait;
use crate::options::refused;
use crate::report::Failure;
use crate::settings::Settings;

/// Connects this terminal to a container that runs in the background, and exits with its status when it ends. On a
/// terminal, Control-P Control-Q leaves it running.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box attach web")]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Do not hand on what is typed
    #[arg(long)]
    no_stdin: bool,
    /// Do not hand on signals
    #[arg(long)]
    no_signals: bool,
    /// Keys that leave the container running: letters, or ctrl- and a letter
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let instance = settings.containers().get(&args.name)?;
    let options = Options {
        stdin: !args.no_stdin,
        forward_signals: !args.no_signals,
        detach_keys: keys(&args.detach_keys)?,
    };
    connect(settings, &instance, &options)
}

/// Attaches, and returns the status for box.
fn connect(settings: &Settings, instance: &Instance, options: &Options) -> Result<u8, Failure> {
    let waiter = instance.waiter()?;
    let mut output = Output {
        out: &mut std::io::stdout().lock(),
        err: &mut std::io::stderr().lock(),
    };
    match attach::attach(instance, options, &mut output)? {
        Left::Detached => Ok(0),
        Left::Behind => Err(Failure::new(format!(
            "no longer attached to {}: what it printed was not read here for two seconds",
            instance.name()
        ))
        .hint(format!("it goes on: box attach {}", instance.name()))),
        Left::Ended => {
            // The terminal closes a moment before the end is recorded.
            if let Ok(live) = instance.live() {
                live.wait(None)?;
            }
            match waiter.ended()? {
                Some(ended) => Ok(ended.code),
                None => wait::status(settings, instance),
            }
        }
    }
}

/// `ctrl-p,ctrl-q`; nothing for no keys.
fn keys(text: &str) -> Result<Vec<u8>, Failure> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bad = || refused("--detach-keys", text, "expected keys such as ctrl-p,ctrl-q");
    text.split(',')
        .map(|key| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (Some(letter), _) => match letter.as_bytes() {
                [letter @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'['..=b'_')] => {
                    Ok(letter.to_ascii_uppercase() & 0x1f)
                }
                _ => Err(bad()),
            },
            (None, [letter]) => Ok(*letter),
            _ => Err(bad()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use box_run::attach::DETACH_KEYS;

    #[test]
    fn keys_are_read() {
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), DETACH_KEYS);
        assert_eq!(keys("a,ctrl-],ctrl-@").unwrap(), [b'a', 29, 0]);
        assert_eq!(keys("").unwrap(), [0u8; 0]);
        for text in ["ctrl-", "ctrl-1", "ab", ","] {
            assert!(keys(text).is_err(), "{text}");
        }
    }
}
