//! `box prune`.

use std::io::{BufRead, IsTerminal, Write};

use box_containers::Status;

use crate::commands::containers;
use crate::output;
use crate::report::{Failure, cause};
use crate::settings::Settings;

/// Removes all stopped containers and their files. Asks for confirmation on a terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box prune --force")]
pub struct Args {
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
    /// Only containers that exited longer ago than this, such as 24h
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let age = args
        .older_than
        .as_deref()
        .map(|text| crate::options::duration("--older-than", text))
        .transpose()?;
    let oldest = age.map(|age| output::now().saturating_sub(age.as_secs()));
    let containers = settings.containers();
    let mut names = Vec::new();
    for container in containers.list()? {
        let record = container.record();
        let last = record
            .ended
            .as_ref()
            .map(|ended| ended.finished)
            .unwrap_or(record.created);
        let stopped = !matches!(
            container.status()?,
            Status::Running { .. } | Status::Paused { .. }
        );
        if stopped && oldest.is_none_or(|oldest| last <= oldest) {
            names.push(container.name().to_owned());
        }
    }
    if names.is_empty() || !(args.force || agreed(names.len())?) {
        return Ok(0);
    }
    containers::each_at_once(settings, &names, |containers, name| {
        match containers.remove(name, false) {
            // Another process has started or removed it in the meantime.
            Err(
                box_containers::Error::NoSuchContainer { .. }
                | box_containers::Error::Running { .. },
            ) => Ok(()),
            result => Ok(result?),
        }
    })
}

/// Asks for confirmation if stdin is a terminal.
fn agreed(count: usize) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot ask for confirmation: {}", cause(&error)))
    };
    let plural = if count == 1 { "" } else { "s" };
    let mut stderr = std::io::stderr().lock();
    write!(
        stderr,
        "remove {count} container{plural} with all files? [y/N] "
    )
    .map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(failed)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
