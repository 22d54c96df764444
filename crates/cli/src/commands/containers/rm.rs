//! `box rm`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::report::Failure;
use crate::settings::Settings;

/// Deletes containers and their files. A running one is refused, unless --force is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box rm amber-acorn")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Kill the ones that run, and say nothing of the ones that are not there
    #[arg(short, long)]
    force: bool,
}

/// Removes each that can be removed; the first failure is told when all were tried.
pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let instances = settings.containers();
    let done = containers::at_once(&args.names, |name| {
        match instances.remove(name, args.force) {
            Ok(()) => Ok(Some(name.to_owned())),
            Err(box_run::Error::NoSuchInstance { .. }) if args.force => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    containers::tell(done.into_iter().filter_map(Result::transpose))
}
