//! `box images`.

use box_cache::{Cache, Image, Reference, Verified};
use serde::Serialize;

use crate::output::listing::{Column, ListFormat, Listing};
use crate::report::{Failure, warn};
use crate::settings::Settings;
use crate::{options, output};

/// Lists the images in the cache, with their origin and how they were verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box images --format json")]
pub struct Args {
    /// List only images with this name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print a table, JSON (json), or these fields, such as reference,size,verified
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

/// One image in a listing. Stable, documented in docs/cli.md.
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
    /// The row of an image.
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

/// How an image was verified, as the text of a column.
fn verified(verified: &Verified) -> String {
    match verified {
        Verified::Signature { fingerprint } => {
            let short = fingerprint.len().saturating_sub(16);
            format!(
                "signature {}",
                fingerprint.get(short..).unwrap_or(fingerprint)
            )
        }
        Verified::Key { key, .. } => format!("key {}", key.get(..16).unwrap_or(key)),
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
    let name = args.name.as_deref().map(options::aliased).transpose()?;
    let rows: Vec<Row> = listing
        .images
        .iter()
        .filter(|image| name.as_deref().is_none_or(|name| is_named(image, name)))
        .map(Row::of)
        .collect();
    LISTING.print(&rows, &args.format, settings.quiet)?;
    Ok(0)
}

/// Whether an image has this name, in any spelling. A name without a tag stands for all tags.
fn is_named(image: &Image, name: &str) -> bool {
    let Ok(wanted) = name.parse::<Reference>() else {
        return false;
    };
    let with_tag = name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains([':', '@']));
    image.reference.name() == wanted.name() && (!with_tag || image.reference == wanted)
}

const LISTING: Listing<Row, 8> = Listing {
    columns: [
        column("REFERENCE", |row, _| row.reference.clone()),
        column("PLATFORM", |row, _| row.platform.clone()),
        column("VERSION", |row, _| row.version.clone().unwrap_or_default()),
        column("SIZE", |row, _| output::size(row.size)),
        column("FETCHED", |row, now| {
            row.age.map_or(String::new(), |then| output::ago(then, now))
        }),
        column("VERIFIED", |row, _| verified(&row.verified)),
        column("DIGEST", |row, _| output::short_digest(&row.digest)),
        Column {
            heading: "URL",
            cell: |row, _| row.url.clone().unwrap_or_default(),
            least: 12,
        },
    ],
    fields: &[
        "reference",
        "digest",
        "platform",
        "version",
        "size",
        "url",
        "fetched",
        "verified",
    ],
    name: |row| &row.digest,
};

const fn column(heading: &'static str, cell: fn(&Row, u64) -> String) -> Column<Row> {
    Column {
        heading,
        cell,
        least: 0,
    }
}
