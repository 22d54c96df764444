//! `box df`.

use std::io::ErrorKind;

use box_cache::{Cache, Collection, GarbageKind, LayerTrees as _, Policy, Survey, disk_usage};
use serde::Serialize;

use crate::commands::cache::gc::failure;
use crate::image::trees::LayersInUse;
use crate::output;
use crate::output::Format;
use crate::report::Failure;
use crate::settings::Settings;

/// Shows disk usage by kind, and how much of it `box gc` would free. Sizes are disk usage as the file system reports it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box df")]
pub struct Args {
    /// Print a table or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// The disk usage of one kind of data. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    count: usize,
    size: u64,
    reclaimable: u64,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let dirs = &settings.dirs;
    let cache = Cache::open_existing(&dirs.cache);
    let trees = LayersInUse::new(dirs);
    let survey = cache.survey()?;
    let policy = Policy {
        dry_run: true,
        ..Policy::default()
    };
    let garbage = cache.collect(&policy, &trees).map_err(failure)?;
    let mut rows = of_cache(&survey, &garbage);
    let (mut size, layers) = (0, trees.list().map_err(failure)?);
    for layer in &layers {
        size += trees.bytes(layer).map_err(failure)?;
    }
    rows.insert(
        1,
        Row {
            kind: "layers",
            count: layers.len(),
            size,
            reclaimable: freed(&garbage, GarbageKind::Tree),
        },
    );
    rows.insert(2, containers(settings)?);
    if let Some(leftovers) = rows.iter_mut().find(|row| row.kind == "leftovers") {
        let unfinished = trees.leftovers().map_err(failure)?;
        leftovers.size += unfinished;
        leftovers.count += usize::from(unfinished > 0);
    }
    match args.format {
        Format::Json => output::json(&rows)?,
        Format::Table => table(&rows)?,
    }
    Ok(0)
}

fn freed(garbage: &Collection, kind: GarbageKind) -> u64 {
    garbage
        .garbage
        .iter()
        .filter(|garbage| garbage.kind == kind)
        .map(|garbage| garbage.bytes)
        .sum()
}

fn of_cache(survey: &Survey, garbage: &Collection) -> Vec<Row> {
    let (leftovers, downloads): (Vec<_>, Vec<_>) =
        survey.partial.iter().partition(|file| file.is_staged());
    let sum = |files: &[&box_cache::StoredFile]| files.iter().map(|file| file.bytes).sum();
    vec![
        Row {
            kind: "blobs",
            count: survey.blobs.len(),
            size: survey.blob_bytes(),
            reclaimable: freed(garbage, GarbageKind::Blob),
        },
        Row {
            kind: "downloads",
            count: downloads.len(),
            size: sum(&downloads),
            reclaimable: freed(garbage, GarbageKind::Download),
        },
        Row {
            kind: "leftovers",
            count: leftovers.len(),
            size: sum(&leftovers),
            reclaimable: freed(garbage, GarbageKind::Leftover),
        },
        Row {
            kind: "quarantine",
            count: survey.quarantine.len(),
            size: survey.quarantine.iter().map(|file| file.bytes).sum(),
            reclaimable: freed(garbage, GarbageKind::Quarantined),
        },
        Row {
            kind: "lookup",
            count: 1,
            size: survey.derived,
            reclaimable: 0,
        },
    ]
}

/// The files that containers have changed or created.
fn containers(settings: &Settings) -> Result<Row, Failure> {
    let directory = &settings.dirs.containers;
    let mut row = Row {
        kind: "containers",
        count: 0,
        size: 0,
        reclaimable: 0,
    };
    let listing = match std::fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(row),
        Err(error) => return Err(box_cache::Error::io("list", directory)(error).into()),
    };
    for entry in listing {
        let entry = entry.map_err(box_cache::Error::io("list", directory))?;
        row.size += disk_usage(&entry.path())?;
        row.count += usize::from(!entry.file_name().as_encoded_bytes().starts_with(b"."));
    }
    Ok(row)
}

fn table(rows: &[Row]) -> Result<(), Failure> {
    let total = Row {
        kind: "total",
        count: 0,
        size: rows.iter().map(|row| row.size).sum(),
        reclaimable: rows.iter().map(|row| row.reclaimable).sum(),
    };
    let cells: Vec<[String; 4]> = rows
        .iter()
        .chain([&total])
        .map(|row| {
            let count = if row.kind == "total" {
                String::new()
            } else {
                row.count.to_string()
            };
            [
                row.kind.to_owned(),
                count,
                output::size(row.size),
                output::size(row.reclaimable),
            ]
        })
        .collect();
    output::table(["KIND", "COUNT", "SIZE", "RECLAIMABLE"], &cells)
}
