//! `box update`.

use clap_complete::ArgValueCandidates;

use crate::options::limits::LimitArgs;
use crate::output;
use crate::report::Failure;
use crate::settings::{Settings, require_root};

/// Changes the limits of containers, for running ones at once, and for all of them from the next start on. Other limits stay as
/// they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box update --memory 1g --cpus 2 web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("changing limits")?;
    let resources = args.limits.resources()?.ok_or_else(|| {
        Failure::new("no limits were given").hint("for example: box update --memory 512m NAME")
    })?;
    let containers = settings.containers();
    let mut failures = Vec::new();
    for name in &args.names {
        match containers
            .get(name)
            .and_then(|mut container| container.update(&resources))
        {
            Ok(()) => output::line(name)?,
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    Failure::all(failures)
}
