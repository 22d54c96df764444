//! `box completions`.

use clap::ValueEnum;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::output;
use crate::report::{Failure, cause};

/// Prints a completion script for a shell: for commands, options, names of containers and references of images.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box completions bash > /etc/bash_completion.d/box\n  box completions fish > ~/.config/fish/completions/box.fish"
)]
pub struct Args {
    /// Name of the shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The variable with which a shell requests completions.
pub const VARIABLE: &str = "BOX_COMPLETE";

pub fn run(args: &Args) -> Result<u8, Failure> {
    let completer: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "box", "box", "box", &mut script)
        .map_err(|error| {
            Failure::new(format!("cannot write the completions: {}", cause(&error)))
        })?;
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
