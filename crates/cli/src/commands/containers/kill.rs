//! `box kill`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::options::signal;
use crate::report::Failure;
use crate::settings::Settings;

/// Sends a signal to the commands of containers, KILL by default.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box kill -s HUP web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    const KILL: i32 = 9;
    let signal = signal::read("--signal", &args.signal)?;
    containers::each_at_once(settings, &args.names, |containers, name| {
        let live = containers.get(name)?.live()?;
        match signal {
            KILL => live.kill()?,
            _ => live.signal(signal)?,
        }
        Ok(())
    })
}
