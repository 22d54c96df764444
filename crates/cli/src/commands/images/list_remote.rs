//! `box list-remote`.

use box_cache::{Cache, Platform};
use box_pull::{Offer, Remote};
use serde::Serialize;

use crate::bars::Bars;
use crate::image::fetch::FetchArgs;
use crate::output::Format;
use crate::report::Failure;
use crate::settings::Settings;
use crate::{options, output};

/// Lists the branches and releases that a mirror offers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box list-remote alpine --arch aarch64")]
pub struct Args {
    /// Name of the distribution
    #[arg(value_name = "NAME", default_value = "alpine")]
    name: String,
    /// Architecture of the releases [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Print a table or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// One release in the listing. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Row {
    branch: String,
    version: String,
    newest: bool,
    cached: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let name = options::reference(&args.name)?;
    let options = args.fetch.unpinned(settings, &platform, &name)?;
    let bars = Bars::new(settings);
    let offers = Remote::new(&options, &bars).offers(&name)?;
    let images = Cache::open_existing(&settings.dirs.cache).images()?;
    let cached = |offer: &Offer| {
        images.iter().any(|image| {
            image.reference.name() == name.name()
                && image.platform == platform
                && match name.is_own() {
                    true => image.provenance.version.as_deref() == Some(&offer.version),
                    // What a registry offers is its tags.
                    false => image.reference.tag() == Some(&offer.version),
                }
        })
    };
    let rows: Vec<Row> = offers
        .iter()
        .map(|offer| Row {
            branch: offer.branch.clone(),
            version: offer.version.clone(),
            newest: offer.newest,
            cached: cached(offer),
        })
        .collect();
    match args.format {
        Format::Json => output::json(&rows)?,
        Format::Table => {
            let mark = |is: bool, word: &str| if is { word.to_owned() } else { String::new() };
            let cells: Vec<_> = rows
                .iter()
                .map(|row| {
                    let (newest, cached) = (mark(row.newest, "newest"), mark(row.cached, "cached"));
                    [row.branch.clone(), row.version.clone(), newest, cached]
                })
                .collect();
            output::table(["BRANCH", "VERSION", "NEWEST", "CACHED"], &cells)?;
        }
    }
    Ok(0)
}
