//! `box attach`.

use box_containers::Container;
use box_containers::monitor::attach::{self, AttachOptions, Outcome, Output};

use clap_complete::ArgValueCandidates;

use crate::commands::containers::wait;
use crate::options::refused;
use crate::report::Failure;
use crate::settings::Settings;

/// Attaches to a container that runs in the background, and exits with its status when it exits. On a terminal, Control-P
/// Control-Q detaches from it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box attach web")]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Do not pass stdin to the container
    #[arg(long)]
    no_stdin: bool,
    /// Do not forward signals to the container
    #[arg(long)]
    no_signals: bool,
    /// Keys to detach with: letters, or ctrl- and a letter
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let container = settings.containers().get(&args.name)?;
    let options = AttachOptions {
        stdin: !args.no_stdin,
        forward_signals: !args.no_signals,
        detach_keys: keys(&args.detach_keys)?,
    };
    connect(settings, &container, &options)
}

/// Attaches to a container and returns the exit status for box.
fn connect(
    settings: &Settings,
    container: &Container,
    options: &AttachOptions,
) -> Result<u8, Failure> {
    let waiter = container.waiter()?;
    let mut output = Output {
        out: &mut std::io::stdout().lock(),
        err: &mut std::io::stderr().lock(),
    };
    match attach::attach(container, options, &mut output)? {
        Outcome::Detached => Ok(0),
        Outcome::FellBehind => Err(Failure::new(format!(
            "detached from {}: its output was not read here for two seconds",
            container.name()
        ))
        .hint(format!(
            "the container is still running: box attach {}",
            container.name()
        ))),
        Outcome::Ended => {
            // The terminal closes a moment before the exit is recorded.
            if let Ok(live) = container.live() {
                live.wait(None)?;
            }
            match waiter.ended()? {
                Some(ended) => Ok(ended.code),
                None => wait::status(settings, container),
            }
        }
    }
}

/// Reads keys such as `ctrl-p,ctrl-q`. An empty text means no keys.
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
    use box_containers::monitor::attach::DETACH_KEYS;

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
