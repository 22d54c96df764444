//! `box images`.

use box_cache::{Cache, Image, Verified};
use serde::Serialize;

use crate::args::Format;
use crate::output;
use crate::report::{Failure, warn};
use crate::settings::Settings;

/// Lists the images in the cache: where they came from, and what vouches for them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box images --format json")]
pub struct Args {
    /// Only images of this name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print as a table or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// One image in a listing: stable, documented in docs/cli.md.
#[derive(Debug, Serialize)]
pub struct Row {
    reference: String,
    digest: String,
    platform: String,
    version: Option<String>,
    size: u64,
    url: Option<String>,
    fetched: Option<String>,
    verified: Verified,
    #[serde(skip)]
    age: Option<u64>,
}

impl Row {
    /// What is known of an image.
    pub fn of(image: &Image) -> Row {
        let provenance = &image.provenance;
        let fetched = Some(provenance.fetched).filter(|seconds| *seconds != 0);
        Row {
            reference: image.reference.to_string(),
            digest: image.manifest_digest.to_string(),
            platform: image.platform.to_string(),
            version: provenance.version.clone(),
            size: image.size,
            url: Some(provenance.url.clone()).filter(|url| !url.is_empty()),
            fetched: fetched.map(output::rfc3339),
            verified: provenance.verified.clone(),
            age: fetched,
        }
    }
}

/// What vouches for an image, as part of a sentence.
pub fn vouched(how: &Verified) -> String {
    match how {
        Verified::Signature { fingerprint } => {
            format!("verified by the signature of {fingerprint}")
        }
        Verified::Checksum => "verified by checksum alone".to_owned(),
        Verified::Digest => "verified by the digest asked for".to_owned(),
        Verified::Unverified => "not verified".to_owned(),
    }
}

/// What vouches for an image, in a column.
fn verified(verified: &Verified) -> String {
    match verified {
        Verified::Signature { fingerprint } => {
            let short = fingerprint.len().saturating_sub(16);
            format!(
                "signature {}",
                fingerprint.get(short..).unwrap_or(fingerprint)
            )
        }
        Verified::Checksum => "checksum".to_owned(),
        Verified::Digest => "digest".to_owned(),
        Verified::Unverified => "no".to_owned(),
    }
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let listing = cache.listing()?;
    for damaged in &listing.damaged {
        warn(Failure::from_error(&damaged.error).message());
    }
    let rows: Vec<Row> = listing
        .images
        .iter()
        .filter(|image| {
            args.name
                .as_deref()
                .is_none_or(|name| is_named(image, name))
        })
        .map(Row::of)
        .collect();
    if settings.quiet {
        for row in &rows {
            output::line(&row.digest)?;
        }
        return Ok(0);
    }
    match args.format {
        Format::Json => output::json(&rows)?,
        Format::Table => table(&rows)?,
    }
    Ok(0)
}

fn is_named(image: &Image, name: &str) -> bool {
    image.reference.name() == name || image.reference.key() == name
}

fn table(rows: &[Row]) -> Result<(), Failure> {
    let now = output::now();
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                row.reference.clone(),
                row.platform.clone(),
                row.version.clone().unwrap_or_default(),
                output::size(row.size),
                row.age.map_or(String::new(), |then| output::ago(then, now)),
                verified(&row.verified),
                output::short_digest(&row.digest),
            ]
        })
        .collect();
    output::table(
        [
            "REFERENCE",
            "PLATFORM",
            "VERSION",
            "SIZE",
            "FETCHED",
            "VERIFIED",
            "DIGEST",
        ],
        &cells,
    )
}
