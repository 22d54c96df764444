//! `box rm`.

use box_run::Instances;

use clap_complete::ArgValueCandidates;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Deletes containers and their files. A running one is refused, unless --force is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box rm amber-acorn")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::complete::names))]
    names: Vec<String>,
    /// Kill the ones that run, and say nothing of the ones that are not there
    #[arg(short, long)]
    force: bool,
}

/// Removes each that can be removed; the first failure is told when all were tried.
pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let instances = Instances::open(&settings.dirs.instances, &settings.dirs.run);
    let mut failures = Vec::new();
    for name in &args.names {
        match instances.remove(name, args.force) {
            Ok(()) => output::line(name)?,
            Err(box_run::Error::NoSuchInstance { .. }) if args.force => {}
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    Failure::all(failures)
}
