//! `box top`.

use box_containers::top::Process;

use clap_complete::ArgValueCandidates;

use crate::output::listing::{Column, ListFormat, Listing};
use crate::report::Failure;
use crate::settings::Settings;

/// Lists the processes of a running container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box top web")]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Print a table, JSON (json), or these fields: user,pid,container_pid,parent,state,cpu_seconds,memory,started,command
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

const LISTING: Listing<Process, 7> = Listing {
    columns: [
        Column {
            heading: "USER",
            cell: |process, _| process.user.clone(),
            least: 0,
        },
        Column {
            heading: "PID",
            cell: |process, _| process.container_pid.to_string(),
            least: 0,
        },
        Column {
            heading: "HOST-PID",
            cell: |process, _| process.pid.to_string(),
            least: 0,
        },
        Column {
            heading: "STATE",
            cell: |process, _| process.state.to_string(),
            least: 0,
        },
        Column {
            heading: "MEMORY",
            cell: |process, _| crate::output::size(process.memory),
            least: 0,
        },
        Column {
            heading: "TIME",
            cell: |process, _| clock(process.cpu_seconds),
            least: 0,
        },
        Column {
            heading: "COMMAND",
            cell: |process, _| process.command.clone(),
            least: 10,
        },
    ],
    fields: &[
        "user",
        "pid",
        "container_pid",
        "parent",
        "state",
        "cpu_seconds",
        "memory",
        "started",
        "command",
    ],
    name: |process| &process.command,
};

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let processes = settings.containers().get(&args.name)?.processes()?;
    LISTING.print(&processes, &args.format, settings.quiet)?;
    Ok(0)
}

/// Hours, minutes and seconds, as ps(1) prints them.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
