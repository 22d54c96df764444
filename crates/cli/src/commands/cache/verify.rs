//! `box verify`.

use box_cache::{Audit, Cache, DamagedBlob, Reference};
use serde::Serialize;

use crate::bars::Bars;
use crate::options;
use crate::output;
use crate::output::Format;
use crate::report::Failure;
use crate::settings::Settings;

/// Exit status if damage was found.
const DAMAGED: u8 = 1;

/// Reads the blobs in the cache, all or those of some images, and compares them with their digests. Moves damaged blobs to
/// quarantine/ in the cache; the next pull of the image fetches them again. Exits with 1 if there is damage.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box verify\n  box verify alpine:3.20 && echo sound")]
pub struct Args {
    /// Images to check [default: everything in the cache]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Print text or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// The result of a check. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Report {
    blobs: u64,
    bytes: u64,
    damaged: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    digest: String,
    reason: String,
    images: Vec<String>,
    quarantined: Option<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let references: Result<Vec<Reference>, Failure> = args
        .images
        .iter()
        .map(|text| options::reference(text))
        .collect();
    let cache = Cache::open_existing(&settings.dirs.cache);
    let audit = cache.audit(&references?, &Bars::new(settings))?;
    match args.format {
        Format::Json => output::json(&Report::of(&audit))?,
        Format::Table if settings.quiet => {}
        Format::Table => table(&audit)?,
    }
    let mut failures: Vec<Failure> = audit
        .unknown
        .iter()
        .map(|reference| {
            Failure::new(format!("{reference} is not in the cache"))
                .hint("list the cached images: box images")
        })
        .collect();
    if !audit.damaged.is_empty() {
        failures.push(damage(&audit));
    }
    Failure::all(failures)
}

fn damage(audit: &Audit) -> Failure {
    let message = format!(
        "{} of {} blobs are damaged or missing",
        audit.damaged.len(),
        audit.blobs
    );
    let mut images: Vec<String> = audit
        .damaged
        .iter()
        .flat_map(|blob| &blob.images)
        .map(|(reference, _)| reference.to_string())
        .collect();
    images.sort();
    images.dedup();
    let hint = match images.is_empty() {
        true => "no image uses them: box gc deletes quarantined blobs".to_owned(),
        false => format!("fetch them again: box pull {}", images.join(" ")),
    };
    Failure::new(message).hint(hint).status(DAMAGED)
}

fn table(audit: &Audit) -> Result<(), Failure> {
    for blob in &audit.damaged {
        let row = Row::of(blob);
        let images = match row.images.is_empty() {
            true => "no image".to_owned(),
            false => row.images.join(", "),
        };
        output::line(&format!(
            "{}: {} (used by {images})",
            row.digest, row.reason
        ))?;
        if let Some(path) = row.quarantined {
            output::line(&format!("  moved to {path}"))?;
        }
    }
    let sound = audit.blobs - audit.damaged.len() as u64;
    output::line(&format!(
        "{sound} of {} blobs are sound ({})",
        audit.blobs,
        output::size(audit.bytes)
    ))
}

impl Report {
    fn of(audit: &Audit) -> Report {
        Report {
            blobs: audit.blobs,
            bytes: audit.bytes,
            damaged: audit.damaged.iter().map(Row::of).collect(),
        }
    }
}

impl Row {
    fn of(blob: &DamagedBlob) -> Row {
        let images = blob
            .images
            .iter()
            .map(|(reference, platform)| match platform {
                Some(platform) => format!("{reference} ({platform})"),
                None => reference.to_string(),
            });
        Row {
            digest: blob.digest.to_string(),
            reason: Failure::from_error(&blob.error).message().to_owned(),
            images: images.collect(),
            quarantined: blob
                .quarantined
                .as_ref()
                .map(|path| path.display().to_string()),
        }
    }
}
