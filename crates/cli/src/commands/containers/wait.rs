//! `box wait`.

use box_containers::Container;

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::report::Failure;
use crate::settings::Settings;

/// Waits for containers to exit and prints the exit status of each.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box wait web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let containers = settings.containers();
    let waiters = containers::at_once(&args.names, |name| status(settings, &containers.get(name)?));
    containers::report(waiters.into_iter())
}

/// Waits for a container to exit and returns its exit status.
pub fn status(settings: &Settings, container: &Container) -> Result<u8, Failure> {
    let waiter = container.waiter()?;
    match container.live() {
        Ok(live) => live.wait(None).map(drop)?,
        Err(
            box_containers::Error::NotRunning { .. }
            | box_containers::Error::NoSuchContainer { .. },
        ) => {}
        Err(error) => return Err(error.into()),
    }
    // A container made with --rm leaves its status with the waiter.
    if let Some(ended) = waiter.ended()? {
        return Ok(ended.code);
    }
    let name = container.name();
    let container = settings.containers().get(name)?;
    match &container.record().ended {
        Some(ended) => Ok(ended.code),
        None => Err(Failure::new(format!(
            "the exit status of {name} is unknown ({})",
            container.status()?
        ))),
    }
}
