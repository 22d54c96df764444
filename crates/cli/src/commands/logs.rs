//! `box logs`.

use std::io::Write;
use std::time::Duration;

use box_run::Instances;
use box_run::logs::{Line, Log, Query};

use clap_complete::ArgValueCandidates;

use crate::containers;
use crate::options::{moment, refused};
use crate::output;
use crate::report::{Failure, cause};
use crate::settings::Settings;

/// Prints what a container wrote while it ran in the background: stdout and stderr, in the order in which it wrote.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box logs --tail 20 web\n  box logs --since 10m --timestamps web"
)]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::complete::names))]
    name: String,
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N|all", default_value = "all")]
    tail: String,
    /// Only what was written since: a time ago such as 10m, or a moment
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Put the time in front of each line; it is exact to a tenth of a second
    #[arg(short, long)]
    timestamps: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let query = args.query()?;
    let instances = containers::open(settings);
    let instance = instances.get(&args.name)?;
    let Some(mut log) = instance.log()? else {
        let why = format!("{} has no log: it never ran in the background", args.name);
        return Err(Failure::new(why).hint("box run -d and box start keep what a container prints"));
    };
    log.seek(&query)?;
    loop {
        // Looked at first: what it writes last is not missed then.
        let runs = args.follow && runs(&instances, &args.name)?;
        args.print(&mut log, !runs)?;
        if !runs {
            return Ok(0);
        }
        log.wait(Duration::from_millis(250))?;
    }
}

fn runs(instances: &Instances, name: &str) -> Result<bool, Failure> {
    match instances.get(name) {
        Ok(instance) => Ok(instance.status()?.is_alive()),
        Err(box_run::Error::NoSuchInstance { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Args {
    fn query(&self) -> Result<Query, Failure> {
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            text => Some(
                text.parse()
                    .map_err(|_| refused("--tail", text, "expected a number of lines, or all"))?,
            ),
        };
        let moment = |flag, text: &Option<String>| {
            text.as_deref()
                .map(|text| moment::read(flag, text))
                .transpose()
        };
        Ok(Query {
            tail,
            since: moment("--since", &self.since)?,
            until: moment("--until", &self.until)?,
        })
    }

    fn print(&self, log: &mut Log, partial: bool) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = if self.timestamps {
            log.lines(partial, &mut |line: Line<'_>| {
                let time = output::rfc3339(line.time / 1000);
                let time = time.trim_end_matches('Z');
                write!(stdout, "{time}.{:03}Z ", line.time % 1000)?;
                stdout.write_all(line.bytes)?;
                if line.bytes.ends_with(b"\n") {
                    Ok(())
                } else {
                    stdout.write_all(b"\n")
                }
            })?
        } else {
            log.copy(&mut stdout)?
        };
        written
            .and_then(|()| stdout.flush())
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Failure::silent(0),
                _ => Failure::new(format!("write to stdout: {}", cause(&error))),
            })
    }
}
