//! `box pause`.

use clap_complete::ArgValueCandidates;

use crate::output;
use crate::report::Failure;
use crate::settings::{Settings, require_root};

/// Pauses all processes of running containers until 'box unpause'.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box pause web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("pausing a container")?;
    each(&args.names, settings, box_containers::Container::pause)
}

/// Performs an action on each container and prints its name. Tries all of them before it reports failures.
pub fn each(
    names: &[String],
    settings: &Settings,
    act: impl Fn(&box_containers::Container) -> Result<(), box_containers::Error>,
) -> Result<u8, Failure> {
    let containers = settings.containers();
    let mut failures = Vec::new();
    for name in names {
        match containers.get(name).and_then(|container| act(&container)) {
            Ok(()) => output::line(name)?,
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    Failure::all(failures)
}
