//! `box lock`.

use box_cache::{Cache, Platform, Reference};
use box_pull::{Pin, Pins, PullOptions};

use crate::bars::Bars;
use crate::files::destination;
use crate::image::fetch::FetchArgs;
use crate::image::layers;
use crate::report::Failure;
use crate::settings::Settings;
use crate::{options, output};

/// Records the exact release of each image, with its digests, in a lock file: `pull` and `run` use exactly these from then on.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box lock alpine:3.20 --arch x86_64 --arch aarch64\n  box lock                 update everything in box.lock"
)]
pub struct Args {
    /// Images to lock [default: those in the lock file]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Architecture to lock; may be repeated [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Vec<Platform>,
    #[command(flatten)]
    fetch: FetchArgs,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let path = args.fetch.lock_file();
    let pins = args.fetch.pins_if_there()?;
    let mut pins = pins.unwrap_or_else(|| Pins::new(&path));
    let wanted = wanted(args, &pins)?;
    let cache = Cache::open(&settings.dirs.cache)?;
    for (reference, platform) in wanted {
        let options = args.fetch.unpinned(settings, &platform, &reference)?;
        let pin = pin(settings, &cache, &reference, &options)?;
        let line = format!(
            "{} ({}): {}, {}",
            pin.reference, pin.arch, pin.version, pin.manifest
        );
        let before = pins.insert(pin.clone());
        output::line(&match before {
            Some(before) if before == pin => format!("{line}; unchanged"),
            Some(before) => format!("{line}; was {}", before.version),
            None => line,
        })?;
    }
    let written = destination::write(&path, pins.to_toml()?.as_bytes());
    written.map_err(box_cache::Error::io("write", &path))?;
    cache.note_lock_file(&path)?;
    Ok(0)
}

/// The images to lock: those named, for the architectures named, or everything that is already locked.
fn wanted(args: &Args, pins: &Pins) -> Result<Vec<(Reference, Platform)>, Failure> {
    let mut wanted = Vec::new();
    for text in &args.images {
        let reference = options::reference(text)?;
        match args.arch.as_slice() {
            [] => wanted.push((reference, Platform::host())),
            arches => wanted.extend(arches.iter().map(|arch| (reference.clone(), arch.clone()))),
        }
    }
    if args.images.is_empty() {
        for pin in pins.iter() {
            let platform: Platform = pin.arch.parse()?;
            if args.arch.is_empty() || args.arch.contains(&platform) {
                wanted.push((pin.reference.clone(), platform));
            }
        }
    }
    match wanted.is_empty() {
        true => {
            Err(Failure::new("there is no image to lock")
                .hint("name an image: box lock alpine:3.20"))
        }
        false => Ok(wanted),
    }
}

/// Pins an image. Fetches it if necessary, because the digest of its manifest depends on its content.
fn pin(
    settings: &Settings,
    cache: &Cache,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Pin, Failure> {
    let bars = Bars::new(settings);
    let sink = layers::sink(settings);
    let pulled = box_pull::pull(cache, reference, options, sink.as_ref(), &bars)?;
    let resolved = match pulled.resolved {
        Some(resolved) => resolved,
        None => box_pull::Remote::new(options, &bars).resolve(reference)?,
    };
    Ok(Pin::new(&pulled.image, &resolved)?)
}
