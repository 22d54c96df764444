//! `box update`.

use clap_complete::ArgValueCandidates;

use crate::options::limits::LimitArgs;
use crate::output;
use crate::report::Failure;
use crate::settings::{Settings, require_root};

/// Changes the limits of containers: of those that run at once, and of their next start. Limits that are not
/// named stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box update --memory 1g --cpus 2 web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Changes each that can be changed; the first failure is told when all were tried.
pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("changing limits")?;
    let resources = args.limits.resources()?.ok_or_else(|| {
        Failure::new("no limit to change was given").hint("such as: box update --memory 512m NAME")
    })?;
    let instances = settings.containers();
    let mut failures = Vec::new();
    for name in &args.names {
        match instances
            .get(name)
            .and_then(|mut instance| instance.update(&resources))
        {
            Ok(()) => output::line(name)?,
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    Failure::all(failures)
}
