//! `box history`.

use box_cache::{Cache, Image, Platform};
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::image::named;
use crate::output;
use crate::output::listing::{Column, ListFormat, Listing};
use crate::output::table::shortened;
use crate::report::Failure;
use crate::settings::Settings;

/// The width to which docker, too, cuts the commands in a table.
const COMMAND: usize = 45;

/// Shows the steps that made an image, the last one first, as its config records them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box history --no-trunc nginx")]
pub struct Args {
    /// The image: a name, or the beginning of its id
    #[arg(value_name = "IMAGE", add = ArgValueCandidates::new(crate::options::completion::references))]
    image: String,
    /// Show the image of this architecture [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Print a table, JSON (json), or these fields, such as created,created_by,size
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Do not cut long commands in the table
    #[arg(long)]
    no_trunc: bool,
}

/// One step. Stable, documented in docs/cli.md.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    layer: Option<String>,
    created: Option<String>,
    created_by: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    size: u64,
    #[serde(skip)]
    age: Option<u64>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let mut images = named::find(&cache, &args.image)?;
    let wanted = args.arch.clone().unwrap_or_else(Platform::host);
    let rank = |image: &Image| wanted.accepts(&image.platform);
    if images.len() > 1 || args.arch.is_some() {
        images.retain(|image| rank(image).is_some());
    }
    let Some(image) = images.iter().min_by_key(|image| rank(image)) else {
        return Err(
            Failure::new(format!("{} ({wanted}) is not in the cache", args.image))
                .hint("list the cached images: box images"),
        );
    };
    let rows = rows(image);
    let listing = match args.no_trunc {
        true => &WHOLE,
        false => &SHORT,
    };
    listing.print(&rows, &args.format, settings.quiet)?;
    Ok(0)
}

/// The steps, the last one first. A layer that the history does not mention is a step of which nothing else is known.
fn rows(image: &Image) -> Vec<Row> {
    let mut layers = image.layers.iter();
    let mut rows = Vec::new();
    for step in image.config.history().iter().flatten() {
        let layer = match step.empty_layer() {
            Some(true) => None,
            _ => layers.next(),
        };
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let created = text(step.created());
        rows.push(Row {
            layer: layer.map(|layer| layer.digest.to_string()),
            age: created.as_deref().and_then(seconds),
            created,
            created_by: text(step.created_by()),
            author: text(step.author()),
            comment: text(step.comment()),
            size: layer.map_or(0, |layer| layer.size),
        });
    }
    rows.extend(layers.map(|layer| Row {
        layer: Some(layer.digest.to_string()),
        created: None,
        created_by: None,
        author: None,
        comment: None,
        size: layer.size,
        age: None,
    }));
    rows.reverse();
    rows
}

/// A time of RFC 3339 in seconds since 1970.
fn seconds(text: &str) -> Option<u64> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_second()).ok()
}

const SHORT: Listing<Row, 5> = listing(|row, _| {
    let command = row.created_by.clone().unwrap_or_default();
    shortened(&command, COMMAND)
});

const WHOLE: Listing<Row, 5> = listing(|row, _| row.created_by.clone().unwrap_or_default());

const fn listing(command: fn(&Row, u64) -> String) -> Listing<Row, 5> {
    Listing {
        columns: [
            column("LAYER", |row, _| {
                let digest = row.layer.as_deref();
                digest.map_or("<none>".to_owned(), output::short_digest)
            }),
            column("CREATED", |row, now| {
                row.age.map_or(String::new(), |then| output::ago(then, now))
            }),
            column("CREATED BY", command),
            column("SIZE", |row, _| output::size(row.size)),
            column("COMMENT", |row, _| row.comment.clone().unwrap_or_default()),
        ],
        fields: &[
            "layer",
            "created",
            "created_by",
            "author",
            "comment",
            "size",
        ],
        name: |row| row.layer.as_deref().unwrap_or("<none>"),
    }
}

const fn column(heading: &'static str, cell: fn(&Row, u64) -> String) -> Column<Row> {
    Column {
        heading,
        cell,
        least: 0,
    }
}
