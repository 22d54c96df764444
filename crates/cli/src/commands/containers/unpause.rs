//! `box unpause`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers::pause;
use crate::report::Failure;
use crate::settings::{Settings, require_root};

/// Resumes the processes of paused containers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box unpause web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("unpausing a container")?;
    pause::each(&args.names, settings, box_containers::Container::unpause)
}
