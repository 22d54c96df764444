//! `box stop`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::options::{self, signal};
use crate::report::Failure;
use crate::settings::Settings;

/// Stops containers. A command that handles the signal gets some time to exit, any other is killed at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box stop web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Time that a command which handles the signal has to exit
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "TIME",
        default_value = "10s"
    )]
    time: String,
    /// Signal to send [default: the stop signal of the image, or TERM]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let grace = options::duration("--time", &args.time)?;
    let given = args
        .signal
        .as_deref()
        .map(|text| signal::read("--signal", text))
        .transpose()?;
    containers::each_at_once(settings, &args.names, |containers, name| {
        containers::stop(&containers.get(name)?, given, Some(grace))
    })
}
