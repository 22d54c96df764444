//! `box diff`.

use box_containers::diff::Change;
use serde::Serialize;

use clap_complete::ArgValueCandidates;

use crate::output;
use crate::output::listing::{Column, ListFormat, Listing};
use crate::report::{Failure, printable};
use crate::settings::Settings;

/// Lists the changes that a container made to the files of its image: A for added, C for changed, D for deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box diff web")]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Print a table, JSON (json), or these fields: kind,path
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

/// One change. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Row {
    kind: box_containers::diff::ChangeKind,
    path: String,
}

const LISTING: Listing<Row, 2> = Listing {
    columns: [
        Column {
            heading: "KIND",
            cell: |row, _| row.kind.letter().to_string(),
            least: 0,
        },
        Column {
            heading: "PATH",
            cell: |row, _| row.path.clone(),
            least: 0,
        },
    ],
    fields: &["kind", "path"],
    name: |row| &row.path,
};

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let changes = settings.containers().get(&args.name)?.changes()?;
    let row = |change: &Change| Row {
        kind: change.kind,
        path: change.path.to_string_lossy().into_owned(),
    };
    let rows: Vec<Row> = changes.iter().map(row).collect();
    if args.format == ListFormat::Table && !settings.quiet {
        // Without headings, as docker and podman print it.
        let lines: String = rows
            .iter()
            .map(|row| format!("{} {}\n", row.kind.letter(), printable(&row.path)))
            .collect();
        output::text(&lines)?;
    } else {
        LISTING.print(&rows, &args.format, settings.quiet)?;
    }
    Ok(0)
}
