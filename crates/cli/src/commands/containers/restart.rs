//! `box restart`.

use clap_complete::ArgValueCandidates;

use crate::commands::containers;
use crate::commands::containers::start::check_passthrough;
use crate::image::trust;
use crate::options;
use crate::report::{Failure, hint};
use crate::settings::{Settings, require_root};

/// Stops running containers and starts them again in the background, with the files they had.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box restart web")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Time that a command which handles the signal has to exit
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
    let containers = settings.containers();
    for name in &args.names {
        // A missing container is reported below.
        if let Ok(container) = containers.get(name) {
            check_passthrough(&container)?;
        }
    }
    // Processes are created only after all threads have ended.
    let stopped = containers::at_once(&args.names, |name| {
        let container = containers.get(name)?;
        trust::judge_container(settings, &container, "start")?;
        containers::stop(&container, None, Some(grace))
    });
    let started = stopped.into_iter().zip(&args.names).map(|(stopped, name)| {
        stopped?;
        box_containers::monitor::detach(containers.get(name)?, hint)?;
        Ok(name)
    });
    containers::report(started)
}
