//! `box gc`.

use box_cache::{Cache, Collection, Expiry, Policy};
use serde::Serialize;

use crate::image::trees::LayersInUse;
use crate::options;
use crate::output;
use crate::output::Format;
use crate::report::Failure;
use crate::settings::Settings;

/// Deletes data that no image and no container uses: blobs, layers, old incomplete downloads, and files left by killed processes.
/// With --max-size, also removes the least recently used images, except those that containers were created from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box gc --dry-run\n  box gc --max-size 20g")]
pub struct Args {
    /// Print what would be deleted, without deleting anything
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Maximal size of images and their layers, such as 20g [default: cache.max-size in the configuration, or no limit]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Print a table or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// The result of a collection. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    freed: u64,
    evicted: Vec<EvictedRow>,
    deleted: Vec<Row>,
}

#[derive(Serialize)]
struct EvictedRow {
    reference: String,
    platform: Option<String>,
    digest: String,
    used: Option<String>,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    name: String,
    size: u64,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let max_size = match (&args.max_size, &settings.config.cache.max_size) {
        (Some(text), _) => Some(options::bytes("--max-size", text)?),
        (None, Some(text)) => Some(options::bytes("cache.max-size", text)?),
        (None, None) => None,
    };
    let policy = Policy {
        dry_run: args.dry_run,
        max_size,
        downloads: Expiry::default(),
    };
    let cache = match args.dry_run {
        true => Cache::open_existing(&settings.dirs.cache),
        false => Cache::open(&settings.dirs.cache)?,
    };
    let collection = cache
        .collect(&policy, &LayersInUse::new(&settings.dirs))
        .map_err(failure)?;
    match args.format {
        Format::Json => output::json(&Report::of(&collection, args.dry_run))?,
        Format::Table if settings.quiet => output::line(&collection.freed().to_string())?,
        Format::Table => table(&collection, args.dry_run)?,
    }
    Failure::all(collection.failures.into_iter().map(failure).collect())
}

/// Turns an error of the cache, of the layer store or of the containers into a failure.
pub fn failure(error: box_cache::BoxError) -> Failure {
    let error = match error.downcast::<box_cache::Error>() {
        Ok(error) => return (*error).into(),
        Err(error) => error,
    };
    match error.downcast::<box_unpack::Error>() {
        Ok(error) => (*error).into(),
        Err(error) => match error.downcast::<box_containers::Error>() {
            Ok(error) => (*error).into(),
            Err(error) => Failure::from_error(error.as_ref()),
        },
    }
}

fn table(collection: &Collection, dry_run: bool) -> Result<(), Failure> {
    for evicted in &collection.evicted {
        let verb = if dry_run { "would remove" } else { "removed" };
        let platform = evicted
            .platform
            .as_ref()
            .map_or(String::new(), |platform| format!(" ({platform})"));
        output::line(&format!("{verb} {}{platform}", evicted.reference))?;
    }
    if !collection.garbage.is_empty() {
        let rows: Vec<[String; 3]> = collection
            .garbage
            .iter()
            .map(|garbage| {
                [
                    garbage.kind.as_str().to_owned(),
                    output::size(garbage.bytes),
                    garbage.name.clone(),
                ]
            })
            .collect();
        output::table(["KIND", "SIZE", "NAME"], &rows)?;
    }
    let verb = if dry_run { "would free" } else { "freed" };
    output::line(&format!("{verb} {}", output::size(collection.freed())))
}

impl Report {
    fn of(collection: &Collection, dry_run: bool) -> Report {
        let evicted = collection.evicted.iter().map(|evicted| EvictedRow {
            reference: evicted.reference.to_string(),
            platform: evicted.platform.as_ref().map(ToString::to_string),
            digest: evicted.manifest_digest.clone(),
            used: Some(evicted.used)
                .filter(|used| *used != 0)
                .map(output::rfc3339),
        });
        let deleted = collection.garbage.iter().map(|garbage| Row {
            kind: garbage.kind.as_str(),
            name: garbage.name.clone(),
            size: garbage.bytes,
        });
        Report {
            dry_run,
            freed: collection.freed(),
            evicted: evicted.collect(),
            deleted: deleted.collect(),
        }
    }
}
