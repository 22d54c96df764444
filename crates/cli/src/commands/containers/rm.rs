//! `box rm`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::report::Failure;
use crate::settings::Settings;

/// Removes containers and their files. Refuses to remove a running container unless --force is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box rm amber-acorn")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Kill running containers, and ignore missing ones
    #[arg(short, long)]
    force: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let containers = settings.containers();
    let done = containers::at_once(&args.names, |name| {
        match containers.remove(name, args.force) {
            Ok(()) => Ok(Some(name.to_owned())),
            Err(box_containers::Error::NoSuchContainer { .. }) if args.force => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    containers::report(done.into_iter().filter_map(Result::transpose))
}
