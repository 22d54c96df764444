//! `box stats`.

use clap_complete::ArgValueCandidates;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use box_containers::{Container, Containers, Status};
use box_run::cgroup::Stats;
use serde::Serialize;

use crate::output::{self, Format, binary_size};
use crate::report::Failure;
use crate::settings::Settings;

/// Time over which the CPU usage of a single reading is measured.
const SAMPLE: Duration = Duration::from_millis(200);

/// Interval between two updates on a terminal.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows the resource usage of running containers: continuously on a terminal, once elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box stats --no-stream")]
pub struct Args {
    /// Names of the containers [default: all running ones]
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Print once and exit
    #[arg(long)]
    no_stream: bool,
    /// Print as a table or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// One container. Stable, documented in docs/cli.md. Sizes are in bytes; values that the host does not provide are null.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// Per cent of one CPU: two busy CPUs are 200.
    cpu_percent: Option<f64>,
    #[serde(flatten)]
    stats: Stats,
}

/// CPU time in nanoseconds, and when it was read.
type Reading = (u64, Instant);

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let containers = settings.containers();
    let live = !args.no_stream && args.format == Format::Table && std::io::stdout().is_terminal();
    let mut before = HashMap::new();
    // CPU usage is the difference of two readings; this is the first one.
    read(args, &containers, &mut before)?;
    loop {
        std::thread::sleep(if live { INTERVAL } else { SAMPLE });
        let rows = read(args, &containers, &mut before)?;
        if live {
            // Cursor to the upper left corner, and clear the screen below it.
            output::text("\x1b[H\x1b[J")?;
        }
        match args.format {
            Format::Json => output::json(&rows)?,
            Format::Table => print(&rows)?,
        }
        if !live {
            return Ok(0);
        }
    }
}

/// Reads the current usage. `before` holds the previous CPU times, and the new ones afterwards.
fn read(
    args: &Args,
    containers: &Containers,
    before: &mut HashMap<String, Reading>,
) -> Result<Vec<Row>, Failure> {
    let chosen = if args.names.is_empty() {
        containers.list()?
    } else {
        args.names
            .iter()
            .map(|name| containers.get(name))
            .collect::<Result<_, _>>()?
    };
    let mut rows = Vec::new();
    for container in chosen {
        if let Some(stats) = stats(&container, args.names.is_empty())? {
            let name = container.name().to_owned();
            let now = Instant::now();
            let cpu_percent = stats.cpu_nanoseconds.and_then(|used| {
                let (earlier, then) = before.insert(name.clone(), (used, now))?;
                let share = used.saturating_sub(earlier) as f64
                    / now.duration_since(then).as_nanos() as f64;
                Some((share * 10_000.0).round() / 100.0)
            });
            rows.push(Row {
                name,
                cpu_percent,
                stats,
            });
        }
    }
    Ok(rows)
}

/// `None` for a stopped container, if only running ones are listed.
fn stats(container: &Container, running_only: bool) -> Result<Option<Stats>, Failure> {
    if running_only
        && !matches!(
            container.status()?,
            Status::Running { .. } | Status::Paused { .. }
        )
    {
        return Ok(None);
    }
    match container.cgroup().and_then(|cgroup| Ok(cgroup.stats()?)) {
        Ok(stats) => Ok(Some(stats)),
        // It exited after its status was read.
        Err(box_containers::Error::NotRunning { .. }) if running_only => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn print(rows: &[Row]) -> Result<(), Failure> {
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), binary_size);
    let count = |number: Option<u64>, none: &str| {
        number.map_or(none.to_owned(), |number| number.to_string())
    };
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let stats = &row.stats;
            [
                row.name.clone(),
                row.cpu_percent
                    .map_or("-".to_owned(), |percent| format!("{percent:.1}%")),
                format!(
                    "{} / {}",
                    size(stats.memory),
                    stats
                        .memory_limit
                        .map_or("unlimited".to_owned(), binary_size)
                ),
                size(stats.memory_peak),
                format!(
                    "{} / {}",
                    count(stats.pids, "-"),
                    count(stats.pids_limit, "unlimited")
                ),
                stats.io.map_or("-".to_owned(), |io| {
                    format!("{} / {}", binary_size(io.read), binary_size(io.written))
                }),
            ]
        })
        .collect();
    output::table(
        [
            "NAME",
            "CPU",
            "MEMORY / LIMIT",
            "PEAK",
            "PIDS / LIMIT",
            "READ / WRITTEN",
        ],
        &cells,
    )
}
