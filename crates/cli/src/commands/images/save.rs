//! `box save`.

use clap_complete::ArgValueCandidates;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use box_cache::{Cache, Error, Image, Platform, Reference};
use box_pull::VerifyPolicy;

use crate::bars::Bars;
use crate::files::destination::{self, Destination};
use crate::image::{supply, trust};
use crate::options;
use crate::report::Failure;
use crate::settings::Settings;

/// Size of the write buffer in bytes.
const WRITE: usize = 1 << 20;

/// Saves images to one file: an OCI archive, which box load, skopeo and podman read (oci-archive:). The file appears only when it
/// is complete.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box save alpine:3.20 -o alpine.tar\n  box save alpine | ssh host box load\n  box save --all-platforms alpine:3.20 -o alpine.tar"
)]
pub struct Args {
    /// Images to save
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(crate::options::completion::references))]
    images: Vec<String>,
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Save the images of this architecture; may be repeated [default: this machine's]
    #[arg(long, visible_alias = "platform", value_delimiter = ',')]
    arch: Vec<Platform>,
    /// Require a publisher's signature of the images (require), or not (prefer, off) [env: BOX_VERIFY]
    #[arg(long, value_name = "prefer|require|off")]
    verify: Option<VerifyPolicy>,
    /// Save the images of all cached architectures
    #[arg(long, conflicts_with = "arch")]
    all_platforms: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let _hold = cache.hold()?;
    let images = chosen(args, &cache)?;
    let policy = args.verify.map_or_else(|| settings.verify(), Ok)?;
    images
        .iter()
        .try_for_each(|image| trust::judge(settings, policy, image))?;
    let save = |file: &mut dyn Write, name: &Path| -> Result<(), Error> {
        let mut buffered = BufWriter::with_capacity(WRITE, file);
        cache.save(&images, &mut buffered, name, &Bars::new(settings))?;
        buffered.flush().map_err(Error::io("write", name))
    };
    match args
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        Some(path) => {
            // The image may hold private files of a container.
            let file = Destination::open(path, destination::PRIVATE);
            let mut file = file.map_err(Error::io("create", path))?;
            save(&mut file, path)?;
            file.finish().map_err(Error::io("write", path))?;
        }
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::new("cannot write an archive to a terminal")
                .hint("give a file: box save -o FILE IMAGE"));
        }
        None => save(&mut std::io::stdout().lock(), Path::new("stdout"))?,
    }
    Ok(0)
}

/// The images to save, each once.
fn chosen(args: &Args, cache: &Cache) -> Result<Vec<Image>, Failure> {
    let mut images: Vec<Image> = Vec::new();
    for text in &args.images {
        let reference = options::reference(text)?;
        let mut found: Vec<Image> = Vec::new();
        let mut platforms = args.arch.clone();
        if args.all_platforms {
            found = cache.find_all(&reference)?;
        }
        if found.is_empty() && platforms.is_empty() {
            platforms.push(Platform::host());
        }
        for platform in platforms {
            found.push(cache.find(&reference, &platform)?.ok_or_else(|| {
                let other = supply::other_platform(cache, &reference, &platform);
                other.unwrap_or_else(|| absent(&reference, &platform))
            })?);
        }
        for image in found {
            let same = |other: &Image| {
                (&other.reference, &other.platform) == (&image.reference, &image.platform)
            };
            if !images.iter().any(same) {
                images.push(image);
            }
        }
    }
    Ok(images)
}

fn absent(reference: &Reference, platform: &Platform) -> Failure {
    Failure::new(format!("{reference} ({platform}) is not in the cache"))
        .hint(format!("fetch it: box pull {reference}"))
}
