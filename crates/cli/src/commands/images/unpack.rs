//! `box unpack`.

use clap_complete::ArgValueCandidates;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use box_cache::{Cache, Image, Platform};
use box_unpack::entry::Problem;
use box_unpack::{Layer, LimitKind, Limits, Summary, unpack_archive, unpack_layers};
use serde::Serialize;

use crate::bars::Bars;
use crate::image::fetch::FetchArgs;
use crate::image::layers;
use crate::image::supply::{ImageRequest, PullPolicy};
use crate::interrupt::Interrupts;
use crate::output::Format;
use crate::report::{Failure, cause};
use crate::settings::{Settings, require_root};
use crate::{options, output};

/// Writes the files of an image into a directory. If that fails, the directory is left as it was before.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box unpack alpine:3.20 ./rootfs\n  box unpack ./rootfs.tar.gz ./rootfs"
)]
pub struct Args {
    /// The image, or the path of an archive, starting with / or ./
    #[arg(value_name = "IMAGE|ARCHIVE", add = ArgValueCandidates::new(crate::options::completion::references))]
    image: String,
    /// The target directory; it must be empty or not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Architecture of the image, such as aarch64 or arm64 [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// When to ask a mirror: if the image is missing (missing), always, always if one can be reached (newer), or never
    #[arg(
        long,
        value_name = "missing|always|newer|never",
        default_value = "missing",
        hide_possible_values = true
    )]
    pull: PullPolicy,
    /// Change a limit of the archive, such as entries=500000 or bytes=10g; repeat it for more
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<box_unpack::Setting>,
    /// Print text or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// The result of unpacking. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Written {
    dir: String,
    entries: u64,
    bytes: u64,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("unpacking (files of many owners, and devices)")?;
    let mut limits = Limits::default();
    for setting in &args.limits {
        limits.set(*setting);
    }
    let summary = match is_path(&args.image) {
        true => archive(Path::new(&args.image), &args.dir, &limits)?,
        false => image(args, settings, &limits).map_err(|failure| named_a_file(failure, args))?,
    };
    let written = Written {
        dir: args.dir.display().to_string(),
        entries: summary.entries,
        bytes: summary.bytes,
    };
    match args.format {
        _ if settings.quiet => {}
        Format::Json => output::json(&written)?,
        Format::Table => output::line(&format!(
            "{}: {} entries, {} of files",
            written.dir,
            written.entries,
            output::size(written.bytes)
        ))?,
    }
    Ok(0)
}

/// Adds a hint for users who omitted the `./` of an archive's path.
fn named_a_file(failure: Failure, args: &Args) -> Failure {
    if !Path::new(&args.image).is_file() {
        return failure;
    }
    failure.hint(format!(
        "to unpack the file of this name: box unpack ./{} {}",
        args.image,
        args.dir.display()
    ))
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') || text.starts_with("./") || text.starts_with("../")
}

fn archive(path: &Path, dir: &Path, limits: &Limits) -> Result<Summary, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format!("cannot open {}: {}", path.display(), cause(&error)))
    };
    let file = File::open(path).map_err(failed)?;
    let interrupts = Interrupts::hold().map_err(failed)?;
    let waits_on = file.try_clone().map_err(failed)?.into();
    let file = interrupts.watch(file, Some(waits_on)).map_err(failed)?;
    let unpacked = unpack_archive(file, dir, limits);
    interrupts.finish().map_err(failed)?;
    unpacked.map_err(|error| match error {
        box_unpack::Error::Read(error) => {
            Failure::new(format!("cannot read {}: {}", path.display(), cause(&error)))
        }
        box_unpack::Error::Archive { position, problem } => {
            let hint = limit_of(&problem)
                .map(|name| format!("if you trust the archive: box unpack --limit {name}=VALUE"));
            Failure::new(format!(
                "cannot unpack {}: {position}: {problem}",
                path.display()
            ))
            .maybe_hint(hint)
        }
        error => error.into(),
    })
}

/// The limit that an archive exceeded.
fn limit_of(problem: &Problem) -> Option<LimitKind> {
    match problem {
        Problem::Limit { limit, .. } => Some(*limit),
        Problem::Ratio { .. } => Some(LimitKind::Ratio),
        Problem::Window { .. } => Some(LimitKind::Window),
        _ => None,
    }
}

fn image(args: &Args, settings: &Settings, limits: &Limits) -> Result<Summary, Failure> {
    let reference = options::reference(&args.image)?;
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let wanted = ImageRequest {
        reference: &reference,
        platform: &platform,
        policy: args.pull,
        fetch: &args.fetch,
    };
    let image = wanted.image(settings)?.image;
    let cache = Cache::open_existing(&settings.dirs.cache);
    let held = |error: io::Error| Failure::new(format!("cannot block signals: {}", cause(&error)));
    let interrupts = Interrupts::hold().map_err(held)?;
    let bars = Bars::new(settings);
    let layers = image
        .layers
        .iter()
        .map(|layer| blob(&cache, &image, layer, &bars, &interrupts));
    let unpacked = unpack_layers(layers, &args.dir, limits);
    // The bars must be cleared before a pending signal ends the process.
    drop(bars);
    interrupts.finish().map_err(held)?;
    Ok(unpacked?)
}

/// Opens the blob of a layer. Called when its turn comes.
fn blob<'a>(
    cache: &Cache,
    image: &Image,
    layer: &box_cache::Layer,
    bars: &'a Bars,
    interrupts: &Interrupts,
) -> io::Result<Layer<impl io::Read + use<'a>>> {
    let name = image.reference.to_string();
    let blob = layers::open(cache, layer, &name, bars).map_err(|error| match error {
        layers::Error::Cache(error) => io::Error::other(error),
        layers::Error::Unpack(error) => io::Error::other(error),
    })?;
    Ok(Layer {
        blob: interrupts.watch(blob, None)?,
        diff_id: Some(layer.diff_id),
    })
}
