//! `box restart`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::commands::containers::start::check_passthrough;
use crate::options;
use crate::report::Failure;
use crate::settings::{Settings, require_root};
use crate::trust;

/// Stops containers that run, and runs them again in the background, their files as they were left.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box restart web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// How long a command that handles the signal may take to end
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "TIME",
        default_value = "10s"
    )]
    time: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("starting a container")?;
    let grace = options::duration("--time", &args.time)?;
    let instances = settings.containers();
    for name in &args.names {
        // One that is not there is told below.
        if let Ok(instance) = instances.get(name) {
            check_passthrough(&instance)?;
        }
    }
    // A process is made only where there is one thread: all have ended by then.
    let stopped = containers::at_once(&args.names, |name| {
        let instance = instances.get(name)?;
        trust::judge_container(settings, &instance)?;
        containers::stop(&instance, None, Some(grace))
    });
    let started = stopped.into_iter().zip(&args.names).map(|(stopped, name)| {
        stopped?;
        box_run::detach(instances.get(name)?)?;
        Ok(name)
    });
    containers::tell(started)
}
