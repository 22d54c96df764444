//! `box outdated`.

use box_cache::{Cache, Digest, Platform, Reference};
use box_pull::{Pins, Remote};
use serde::Serialize;

use crate::bars::Bars;
use crate::image::fetch::FetchArgs;
use crate::output::Format;
use crate::report::{Failure, warn};
use crate::settings::Settings;
use crate::{options, output};

/// Exit status if something is out of date.
const OUTDATED: u8 = 1;

/// Lists cached images and pins for which a newer release is available. Exits with 1 if there are any.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box outdated || box pull alpine")]
pub struct Args {
    /// Images to check [default: all that are cached or locked]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Print a table or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// A cached image or a pin.
struct Current {
    reference: Reference,
    platform: Platform,
    version: Option<String>,
    /// The digest of the tarball, or of the manifest if a registry serves it.
    digest: Digest,
    /// The digest that the tag had in its registry when the image was fetched.
    tagged: Option<Digest>,
    place: &'static str,
}

/// One cached image or pin that is out of date. Stable, documented in docs/cli.md.
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
    for current in current(args, settings)? {
        match newer(args, settings, &current) {
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
    Ok(if rows.is_empty() { 0 } else { OUTDATED })
}

/// All images in the cache and pins in the lock file that a newer release may replace: imported images, and those known only by
/// their digest, are left out.
fn current(args: &Args, settings: &Settings) -> Result<Vec<Current>, Failure> {
    let mut only = Vec::new();
    for text in &args.images {
        only.push(options::reference(text)?);
    }
    let listing = Cache::open_existing(&settings.dirs.cache).listing()?;
    for damaged in &listing.damaged {
        warn(Failure::from_error(&damaged.error).message());
    }
    let mut found = Vec::new();
    for image in &listing.images {
        if image.reference.digest().is_some() {
            continue;
        }
        let manifest = image.manifest_digest;
        let (digest, tagged) = match (image.layers.as_slice(), &image.provenance.served) {
            (_, Some(served)) => (manifest, Some(served.index.unwrap_or(manifest))),
            ([layer], None) if image.reference.is_own() => (layer.digest, None),
            _ => continue,
        };
        found.push(Current {
            reference: image.reference.clone(),
            platform: image.platform.clone(),
            version: image.provenance.version.clone(),
            digest,
            tagged,
            place: "cache",
        });
    }
    let pins = args.fetch.pins_if_there()?;
    for pin in pins.iter().flat_map(Pins::iter) {
        found.push(Current {
            reference: pin.reference.clone(),
            platform: pin.arch.parse()?,
            version: Some(pin.version.clone()),
            digest: pin.tarball.unwrap_or(pin.manifest),
            tagged: None,
            place: "lock",
        });
    }
    found.retain(|current| only.is_empty() || only.contains(&current.reference));
    Ok(found)
}

fn newer(args: &Args, settings: &Settings, current: &Current) -> Result<Option<Row>, Failure> {
    let options = args
        .fetch
        .unpinned(settings, &current.platform, &current.reference)?;
    let bars = Bars::new(settings);
    let remote = Remote::new(&options, &bars);
    if current.tagged.is_some() && remote.digest_of(&current.reference)? == current.tagged {
        return Ok(None);
    }
    let newest = remote.newest(&current.reference)?;
    let served = newest.served.as_ref().map(|served| served.digest);
    let digest = served.or(newest.tarball().map(|tarball| tarball.digest));
    Ok((digest != Some(current.digest)).then(|| Row {
        reference: current.reference.to_string(),
        platform: current.platform.to_string(),
        place: current.place,
        version: current.version.clone(),
        newest: newest.version,
    }))
}
