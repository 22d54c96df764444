//! `box ps`.

use box_containers::{Container, Status};
use serde::Serialize;

use crate::options;
use crate::output;
use crate::output::listing::{Column, ListFormat, Listing};
use crate::report::Failure;
use crate::settings::Settings;

/// Lists running containers, and with --all also stopped ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box ps -a")]
pub struct Args {
    /// Include stopped containers
    #[arg(short, long)]
    all: bool,
    /// Print a table, JSON (json), or these fields, such as name,image,status
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Only containers that match name=TEXT, image=IMAGE or status=STATUS
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// One container in a listing. Stable, documented in docs/cli.md.
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
    /// Why the exit status is unknown.
    reason: Option<String>,
    created: String,
    started: Option<String>,
    finished: Option<String>,
    #[serde(skip)]
    age: u64,
    #[serde(skip)]
    ended: Option<u64>,
}

impl Row {
    /// The current state of a container.
    pub fn of(container: &Container) -> Result<Row, Failure> {
        let record = container.record();
        let mut row = Row {
            name: container.name().to_owned(),
            id: record.id.clone(),
            image: record.image.clone(),
            digest: record.manifest.clone(),
            command: record.command.clone(),
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
            ended: record.ended.as_ref().map(|ended| ended.finished),
        };
        match container.status()? {
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

    fn status_for_people(&self, now: u64) -> String {
        match (self.exit_status, &self.reason) {
            (Some(status), _) => match self.ended {
                Some(ended) => format!("exited ({status}) {}", output::ago(ended, now)),
                None => format!("exited ({status})"),
            },
            (_, Some(reason)) => format!("lost ({reason})"),
            _ => self.status.to_owned(),
        }
    }
}

const LISTING: Listing<Row, 5> = Listing {
    columns: [
        Column {
            heading: "NAME",
            cell: |row, _| row.name.clone(),
            least: 0,
        },
        Column {
            heading: "IMAGE",
            cell: |row, _| row.image.clone(),
            least: 12,
        },
        Column {
            heading: "COMMAND",
            cell: |row, _| output::table::shortened(&row.command.join(" "), 30),
            least: 10,
        },
        Column {
            heading: "STATUS",
            cell: Row::status_for_people,
            least: 10,
        },
        Column {
            heading: "CREATED",
            cell: |row, now| output::ago(row.age, now),
            least: 0,
        },
    ],
    fields: &[
        "name",
        "id",
        "image",
        "digest",
        "command",
        "status",
        "pid",
        "exit_status",
        "reason",
        "created",
        "started",
        "finished",
    ],
    name: |row| &row.name,
};

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let containers = settings.containers();
    let filters = args
        .filters
        .iter()
        .map(|text| Filter::read(text))
        .collect::<Result<Vec<_>, _>>()?;
    let all = args.all
        || filters
            .iter()
            .any(|filter| matches!(filter, Filter::Status(_)));
    let mut rows = Vec::new();
    for container in containers.list()? {
        let row = match Row::of(&container) {
            Ok(row) => row,
            // It has just been removed.
            Err(_) if !container.dir().exists() => continue,
            Err(failure) => return Err(failure),
        };
        if (all || row.is_alive()) && filters.iter().all(|filter| filter.accepts(&row)) {
            rows.push(row);
        }
    }
    LISTING.print(&rows, &args.format, settings.quiet)?;
    Ok(0)
}

/// `--filter`.
enum Filter {
    Name(String),
    Image(String),
    Status(String),
}

impl Filter {
    fn read(text: &str) -> Result<Filter, Failure> {
        match text.split_once('=') {
            Some(("name", value)) => Ok(Filter::Name(value.to_owned())),
            Some(("image" | "ancestor", value)) => {
                Ok(Filter::Image(options::reference(value)?.to_string()))
            }
            Some(("status", value)) => Ok(Filter::Status(value.to_owned())),
            _ => Err(options::refused(
                "--filter",
                text,
                "expected name=TEXT, image=IMAGE or status=STATUS",
            )),
        }
    }

    fn accepts(&self, row: &Row) -> bool {
        match self {
            Filter::Name(text) => row.name.contains(text),
            Filter::Image(reference) => row.image == *reference,
            Filter::Status(status) => row.status == status,
        }
    }
}
