//! `box push`.

use std::path::PathBuf;

use box_cache::{Cache, Image, Platform, Reference};
use box_registry::{Pushed, Registry, RepositoryName};
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::bars::Bars;
use crate::files::destination::{self, Destination};
use crate::image::fetch::registry::RegistryArgs;
use crate::image::named;
use crate::image::shipment::Cargo;
use crate::image::signing::SignArgs;
use crate::options;
use crate::output::{self, Format};
use crate::report::{Failure, cause, warn};
use crate::settings::Settings;

/// Sends an image to a registry: the blobs that it lacks, then the manifest, byte for byte as they are in the cache. A tag shows the
/// new image only when all of it is there.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box push registry.example/team/app:1.2\n  box push alpine:3.20 localhost:5000/alpine:3.20"
)]
pub struct Args {
    /// The image: a name, or the beginning of its id
    #[arg(value_name = "IMAGE", add = ArgValueCandidates::new(crate::options::completion::references))]
    image: String,
    /// The name in the registry [default: that of the image]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Push the image of this architecture [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Push the images of all cached architectures, and an index of them
    #[arg(long, conflicts_with = "arch")]
    all_platforms: bool,
    /// Send this many blobs at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Write the digest of what was pushed to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Print one line, or JSON (json)
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What was pushed. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Report {
    reference: String,
    digest: String,
    media_type: String,
    size: u64,
    blobs: Blobs,
}

/// How the blobs came there. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Blobs {
    sent: usize,
    sent_bytes: u64,
    present: usize,
    mounted: usize,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let _hold = cache.hold()?;
    let found = named::find(&cache, &args.image)?;
    let target = target(args, &found)?;
    let repository = RepositoryName::of(&target).ok_or_else(|| nowhere(&target))?;
    let images = chosen(args, found)?;
    let mut cargo = Cargo::of(&cache, &images, &repository)?;
    if args.all_platforms {
        cargo.add_index(crate::image::platforms::index(&cache, &images)?);
    }
    for layer in &cargo.left_out {
        warn(format!(
            "the layer {} is not pushed: by its media type, only its publisher distributes it",
            layer.digest
        ));
    }
    let (digest, media_type) = match cargo.last() {
        Some(document) => (document.digest, document.media_type.clone()),
        None => return Err(nowhere(&target)),
    };
    if let Some(wanted) = target.digest().filter(|wanted| **wanted != digest) {
        return Err(Failure::new(format!(
            "cannot push {} as {target}: its digest is {digest}, not {wanted}",
            args.image
        ))
        .hint("leave the digest out of the name"));
    }
    let key = args.sign.key()?;
    let options = args.registry.options(settings)?;
    let bars = Bars::new(settings);
    let session = Registry::new(&options, &bars);
    let shipment = cargo.shipment(target.tag());
    let place = session.repository(&repository)?;
    // First, so that nobody finds the image without its signature.
    if let Some(key) = &key {
        key.attach(&place, &target, &digest)?;
    }
    let pushed = place.push(&shipment, args.jobs.into())?;
    drop(place);
    drop(session);
    drop(bars);
    if let Some(path) = &args.digestfile {
        write(path, &digest.to_string())?;
    }
    let size = images.iter().map(|image| image.size).sum();
    match args.format {
        _ if settings.quiet => output::line(&digest.to_string())?,
        Format::Json => output::json(&Report {
            reference: target.to_string(),
            digest: digest.to_string(),
            media_type,
            size,
            blobs: Blobs {
                sent: pushed.sent,
                sent_bytes: pushed.bytes,
                present: pushed.present,
                mounted: pushed.mounted,
            },
        })?,
        Format::Table => output::line(&format!(
            "{target}: {digest}; {}{}",
            told(&pushed),
            key.map(|key| format!(", signed by key {}", &key.public().id()[..16]))
                .unwrap_or_default()
        ))?,
    }
    Ok(0)
}

/// The name in the registry.
fn target(args: &Args, found: &[Image]) -> Result<Reference, Failure> {
    let target = match &args.name {
        Some(name) => options::reference(name)?,
        None => match options::reference(&args.image) {
            // The name as it was given, unless it was an id.
            Ok(reference)
                if found
                    .iter()
                    .any(|image| image.reference.name() == reference.name()) =>
            {
                reference
            }
            _ => {
                return Err(
                    Failure::new(format!("cannot push {} without a name", args.image)).hint(
                        format!(
                            "name where it goes: box push {} registry.example/team/app:1.2",
                            args.image
                        ),
                    ),
                );
            }
        },
    };
    match target.is_own() {
        true => Err(nowhere(&target)),
        false => Ok(target),
    }
}

fn nowhere(target: &Reference) -> Failure {
    Failure::new(format!(
        "cannot push {target}: this is the name of Alpine's own releases, which are in no registry"
    ))
    .hint(format!(
        "name where it goes: box push {target} registry.example/team/{target}"
    ))
}

/// The images that are pushed: one, or those of all platforms.
fn chosen(args: &Args, mut images: Vec<Image>) -> Result<Vec<Image>, Failure> {
    if args.all_platforms {
        return Ok(images);
    }
    let wanted = args.arch.clone().unwrap_or_else(Platform::host);
    // The only image of a name is meant, whatever it is for, unless another one is asked for.
    if images.len() == 1 && args.arch.is_none() {
        return Ok(images);
    }
    images.retain(|image| wanted.accepts(&image.platform).is_some());
    let best = images
        .into_iter()
        .min_by_key(|image| wanted.accepts(&image.platform));
    best.map(|image| vec![image]).ok_or_else(|| {
        Failure::new(format!("{} ({wanted}) is not in the cache", args.image))
            .hint("list the cached images: box images")
    })
}

/// `3 blobs sent (12.5 MB), 1 was there, 2 mounted`
fn told(pushed: &Pushed) -> String {
    let mut parts = Vec::new();
    match pushed.sent {
        0 => {}
        1 => parts.push(format!("1 blob sent ({})", output::size(pushed.bytes))),
        n => parts.push(format!("{n} blobs sent ({})", output::size(pushed.bytes))),
    }
    match pushed.mounted {
        0 => {}
        n => parts.push(format!("{n} mounted from another repository")),
    }
    match pushed.present {
        0 => {}
        n => parts.push(format!("{n} already there")),
    }
    parts.join(", ")
}

fn write(path: &std::path::Path, digest: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let failed = |error: std::io::Error| {
        Failure::new(format!(
            "cannot write {}: {}",
            path.display(),
            cause(&error)
        ))
    };
    let mut file = Destination::open(path, destination::PRIVATE).map_err(failed)?;
    file.write_all(digest.as_bytes()).map_err(failed)?;
    file.finish().map_err(failed)
}
