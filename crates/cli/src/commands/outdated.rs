//! `box outdated`.

use box_cache::{Cache, Digest, Platform, Reference};
use box_pull::{Pins, Remote};
use serde::Serialize;

use crate::args::Format;
use crate::bars::Bars;
use crate::fetch::FetchArgs;
use crate::report::{Failure, warn};
use crate::settings::Settings;
use crate::{options, output};

/// Exit status where something has moved on.
const MOVED_ON: u8 = 1;

/// Says which cached images and pins are no longer what their reference means. Exits with 1 where there are any.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box outdated || box pull alpine")]
pub struct Args {
    /// Only these images [default: all that are cached or locked]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Print as a table or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// Something that may have moved on.
struct Held {
    reference: Reference,
    platform: Platform,
    version: Option<String>,
    tarball: Digest,
    place: &'static str,
}

/// Something that has moved on: stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Row {
    reference: String,
    platform: String,
    place: &'static str,
    version: Option<String>,
    newest: String,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for held in held(args, settings)? {
        match moved_on(args, settings, &held) {
            Ok(row) => rows.extend(row),
            Err(failure) => failures.push(failure),
        }
    }
    match args.format {
        Format::Json => output::json(&rows)?,
        Format::Table if rows.is_empty() => {}
        Format::Table => {
            let cells: Vec<_> = rows
                .iter()
                .map(|row| {
                    let version = row.version.clone().unwrap_or_default();
                    let place = row.place.to_owned();
                    [
                        row.reference.clone(),
                        row.platform.clone(),
                        place,
                        version,
                        row.newest.clone(),
                    ]
                })
                .collect();
            output::table(
                ["REFERENCE", "PLATFORM", "PLACE", "VERSION", "NEWEST"],
                &cells,
            )?;
        }
    }
    Failure::all(failures)?;
    Ok(if rows.is_empty() { 0 } else { MOVED_ON })
}

/// Everything that stands for a reference: images of the cache, and pins of the lock file. Images that were imported
/// or are known by a digest alone cannot move on.
fn held(args: &Args, settings: &Settings) -> Result<Vec<Held>, Failure> {
    let mut only = Vec::new();
    for text in &args.images {
        only.push(options::reference(text)?);
    }
    let listing = Cache::open_existing(&settings.dirs.cache).listing()?;
    for damaged in &listing.damaged {
        warn(Failure::from_error(&damaged.error).message());
    }
    let mut held = Vec::new();
    for image in &listing.images {
        if let ([layer], true, None) = (
            image.layers.as_slice(),
            Remote::knows(&image.reference),
            image.reference.digest(),
        ) {
            held.push(Held {
                reference: image.reference.clone(),
                platform: image.platform.clone(),
                version: image.provenance.version.clone(),
                tarball: layer.digest,
                place: "cache",
            });
        }
    }
    let pins = args.fetch.pins_if_there()?;
    for pin in pins.iter().flat_map(Pins::iter) {
        held.push(Held {
            reference: pin.reference.clone(),
            platform: pin.arch.parse()?,
            version: Some(pin.version.clone()),
            tarball: pin.tarball,
            place: "lock",
        });
    }
    held.retain(|held| only.is_empty() || only.contains(&held.reference));
    Ok(held)
}

fn moved_on(args: &Args, settings: &Settings, held: &Held) -> Result<Option<Row>, Failure> {
    let options = args.fetch.unpinned(settings, &held.platform)?;
    let bars = Bars::new(settings);
    let newest = Remote::new(&options, &bars).newest(&held.reference)?;
    let digest = newest.tarball().map(|tarball| tarball.digest);
    Ok((digest != Some(held.tarball)).then(|| Row {
        reference: held.reference.to_string(),
        platform: held.platform.to_string(),
        place: held.place,
        version: held.version.clone(),
        newest: newest.version,
    }))
}
