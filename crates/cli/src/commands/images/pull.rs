//! `box pull`.

use std::num::NonZeroUsize;

use box_cache::{Cache, Image, Platform, Reference};
use box_pull::{Outcome, Preview, PreviewLayer, PullOptions, Remote};
use serde::Serialize;

use crate::bars::Bars;
use crate::commands::images::list;
use crate::image::fetch::FetchArgs;
use crate::image::supply::{fetch, fetch_all};
use crate::image::trust::{permit, vouched};
use crate::output::Format;
use crate::report::Failure;
use crate::settings::Settings;
use crate::{options, output};

/// Fetches images, verifies them and stores them in the cache. Images that are cached and unchanged are not fetched again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box pull alpine:3.20\n  box pull --arch aarch64 alpine\n  box pull nginx ghcr.io/org/app@sha256:..."
)]
pub struct Args {
    /// The images, such as alpine, alpine:3.20.3, nginx (of docker.io), ghcr.io/org/app:1 or REPOSITORY@sha256:...
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Architecture of the image, such as aarch64 or arm64 [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Fetch the images for all platforms of an index, so that all of it can be pushed or saved
    #[arg(long, conflicts_with_all = ["arch", "dry_run"])]
    all_platforms: bool,
    /// Fetch this many layers at a time
    #[arg(long, value_name = "NUMBER", default_value_t = box_pull::DEFAULT_JOBS)]
    jobs: NonZeroUsize,
    /// Print what would be fetched and its size, without fetching anything
    #[arg(long)]
    dry_run: bool,
    /// Print text or JSON, one object for each image
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// The result of a pull. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    image: list::Row,
    changed: bool,
    downloaded: u64,
}

/// The outcome of a dry run. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct DryRun {
    reference: String,
    version: String,
    url: String,
    size: Option<u64>,
    cached: bool,
    changed: bool,
    layers: Vec<DryLayer>,
}

/// One layer in a dry run.
#[derive(Serialize)]
struct DryLayer {
    digest: String,
    size: Option<u64>,
    cached: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let references = args
        .images
        .iter()
        .map(|text| options::reference(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut failures = Vec::new();
    for reference in &references {
        let mut options = args.fetch.options(settings, &platform, reference)?;
        options.jobs = args.jobs;
        let done = match args.dry_run {
            true => dry_run(args, settings, reference, &options),
            false => one(args, settings, reference, &options),
        };
        match done {
            Ok(()) => {}
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

fn one(
    args: &Args,
    settings: &Settings,
    reference: &Reference,
    options: &PullOptions,
) -> Result<(), Failure> {
    if args.all_platforms {
        for (image, outcome) in fetch_all(settings, reference, options)? {
            show(args, settings, &image, outcome)?;
        }
        return Ok(());
    }
    let (image, outcome) = fetch(settings, reference, options)?;
    show(args, settings, &image, outcome)
}

fn show(args: &Args, settings: &Settings, image: &Image, outcome: Outcome) -> Result<(), Failure> {
    let report = Report {
        image: list::Row::of(image),
        changed: outcome != Outcome::Unchanged,
        downloaded: match outcome {
            Outcome::Downloaded { bytes } => bytes,
            Outcome::Cached | Outcome::Unchanged => 0,
        },
    };
    match args.format {
        _ if settings.quiet => output::line(&image.manifest_digest.to_string()),
        Format::Json => output::json(&report),
        Format::Table => output::line(&summary(image, outcome)),
    }
}

/// `alpine:3.20: 3.20.3, sha256:0123456789ab, 3.5 MB, verified by checksum; downloaded 3.5 MB`
fn summary(image: &Image, outcome: Outcome) -> String {
    let mut line = image.reference.without_digest().to_string();
    line.push_str(": ");
    if image.platform != Platform::host() {
        line.push_str(&format!("{}, ", image.platform));
    }
    if let Some(version) = &image.provenance.version {
        line.push_str(&format!("{version}, "));
    }
    let digest = image.manifest_digest;
    let done = match outcome {
        Outcome::Unchanged => "unchanged, nothing downloaded".to_owned(),
        Outcome::Cached => "its layers were in the cache, nothing downloaded".to_owned(),
        Outcome::Downloaded { bytes } => format!("downloaded {}", output::size(bytes)),
    };
    line.push_str(&format!(
        "{}:{}, {}, {}; {done}",
        digest.algorithm().as_str(),
        digest.short(),
        output::size(image.size),
        vouched(&image.provenance.verified),
    ));
    line
}

fn dry_run(
    args: &Args,
    settings: &Settings,
    reference: &Reference,
    options: &PullOptions,
) -> Result<(), Failure> {
    // Like the pull itself: a registry that the policy rejects is asked for nothing.
    permit(settings, reference)?;
    let cache = Cache::open_existing(&settings.dirs.cache);
    let bars = Bars::new(settings);
    let remote = Remote::new(options, &bars);
    let preview = remote.preview(&cache, reference)?;
    match args.format {
        Format::Json => output::json(&DryRun::of(reference, &preview)),
        Format::Table => {
            output::line(&preview_summary(reference, &preview))?;
            for layer in preview.layers.iter().filter(|_| preview.layers.len() > 1) {
                output::line(&layer_summary(layer))?;
            }
            Ok(())
        }
    }
}

fn preview_summary(reference: &Reference, preview: &Preview) -> String {
    let size = preview.size.map_or("size unknown".to_owned(), output::size);
    let what = match (preview.unchanged, preview.cached) {
        (true, _) => "unchanged, nothing to fetch".to_owned(),
        (_, true) => "its layers are in the cache, nothing to fetch".to_owned(),
        _ => format!("would fetch {} ({size})", preview.url),
    };
    format!("{reference}: {}; {what}", preview.resolved.version)
}

fn layer_summary(layer: &PreviewLayer) -> String {
    let size = layer.size.map_or("size unknown".to_owned(), output::size);
    let cached = if layer.cached { ", cached" } else { "" };
    format!("  {}: {size}{cached}", layer.digest)
}

impl DryRun {
    fn of(reference: &Reference, preview: &Preview) -> DryRun {
        DryRun {
            reference: reference.to_string(),
            version: preview.resolved.version.clone(),
            url: preview.url.clone(),
            size: preview.size,
            cached: preview.cached,
            changed: !preview.unchanged,
            layers: preview.layers.iter().map(DryLayer::of).collect(),
        }
    }
}

impl DryLayer {
    fn of(layer: &PreviewLayer) -> DryLayer {
        DryLayer {
            digest: layer.digest.to_string(),
            size: layer.size,
            cached: layer.cached,
        }
    }
}
