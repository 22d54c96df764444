//! `box rename`.

use clap_complete::ArgValueCandidates;

use crate::report::Failure;
use crate::settings::Settings;

/// Renames a container, whether it is running or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box rename old spare")]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// New name
    #[arg(value_name = "NEW")]
    new: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    settings.containers().rename(&args.name, &args.new)?;
    Ok(0)
}
