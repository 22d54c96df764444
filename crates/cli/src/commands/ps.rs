//! `box ps`.

use box_run::{Instance, Instances, Status};
use serde::Serialize;

use crate::args::Format;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Lists the containers that run; with --all those that were kept, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box ps -a")]
pub struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Print as a table or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// One container in a listing: stable, documented in docs/cli.md.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    id: String,
    image: String,
    digest: Option<String>,
    command: Vec<String>,
    status: &'static str,
    pid: Option<i32>,
    exit_status: Option<u8>,
    /// Why nobody knows how it ended.
    reason: Option<String>,
    created: String,
    started: Option<String>,
    finished: Option<String>,
    #[serde(skip)]
    age: u64,
}

impl Row {
    /// What is known of an instance at this moment.
    pub fn of(instance: &Instance) -> Result<Row, Failure> {
        let record = instance.record();
        let spec = instance.spec()?;
        let command = spec
            .process()
            .as_ref()
            .and_then(|process| process.args().clone());
        let mut row = Row {
            name: instance.name().to_owned(),
            id: record.id.clone(),
            image: record.image.clone(),
            digest: record.manifest.clone(),
            command: command.unwrap_or_default(),
            status: "created",
            pid: None,
            exit_status: None,
            reason: None,
            created: output::rfc3339(record.created),
            started: record
                .started
                .as_ref()
                .map(|started| output::rfc3339(started.at)),
            finished: record
                .ended
                .as_ref()
                .map(|ended| output::rfc3339(ended.finished)),
            age: record.created,
        };
        match instance.status()? {
            Status::Created => {}
            Status::Running { pid } => (row.status, row.pid) = ("running", Some(pid)),
            Status::Paused { pid } => (row.status, row.pid) = ("paused", Some(pid)),
            Status::Exited { exit } => {
                (row.status, row.exit_status) = ("exited", Some(exit.code()))
            }
            Status::Lost { reason } => (row.status, row.reason) = ("lost", Some(reason)),
        }
        Ok(row)
    }

    fn is_alive(&self) -> bool {
        self.pid.is_some()
    }

    fn status_for_people(&self) -> String {
        match (self.exit_status, &self.reason) {
            (Some(status), _) => format!("exited ({status})"),
            (_, Some(reason)) => format!("lost ({reason})"),
            _ => self.status.to_owned(),
        }
    }
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let instances = Instances::open(&settings.dirs.instances, &settings.dirs.run);
    let mut rows = Vec::new();
    for instance in instances.list()? {
        let row = Row::of(&instance)?;
        if args.all || row.is_alive() {
            rows.push(row);
        }
    }
    if settings.quiet {
        for row in &rows {
            output::line(&row.name)?;
        }
        return Ok(0);
    }
    match args.format {
        Format::Json => output::json(&rows)?,
        Format::Table => {
            let now = output::now();
            let cells: Vec<_> = rows
                .iter()
                .map(|row| {
                    [
                        row.name.clone(),
                        row.image.clone(),
                        output::shortened(&row.command.join(" "), 30),
                        row.status_for_people(),
                        output::ago(row.age, now),
                    ]
                })
                .collect();
            output::table(["NAME", "IMAGE", "COMMAND", "STATUS", "CREATED"], &cells)?;
        }
    }
    Ok(0)
}
