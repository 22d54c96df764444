//! `box save`.

use clap_complete::ArgValueCandidates;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use box_cache::{Cache, Error, Image, Platform};

use crate::bars::Bars;
use crate::destination::{self, Destination};
use crate::options;
use crate::report::Failure;
use crate::settings::Settings;

/// Bytes written at once.
const WRITE: usize = 1 << 20;

/// Writes images into one file, an OCI archive that box load, skopeo and podman read (oci-archive:). The file is there
/// only once it is whole.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box save alpine:3.20 -o alpine.tar\n  box save alpine | ssh host box load\n  box save --all-platforms alpine:3.20 -o alpine.tar"
)]
pub struct Args {
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(crate::complete::references))]
    images: Vec<String>,
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// For this architecture; may be given several times [default: this machine's]
    #[arg(long, visible_alias = "platform", value_delimiter = ',')]
    arch: Vec<Platform>,
    /// For every architecture that is cached
    #[arg(long, conflicts_with = "arch")]
    all_platforms: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let _hold = cache.hold()?;
    let images = chosen(args, &cache)?;
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
            // It may hold what a container kept to itself.
            let file = Destination::open(path, destination::PRIVATE);
            let mut file = file.map_err(Error::io("create", path))?;
            save(&mut file, path)?;
            file.finish().map_err(Error::io("write", path))?;
        }
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::new(
                "stdout is a terminal, which an archive would not do any good",
            )
            .hint("name a file: box save -o FILE IMAGE"));
        }
        None => save(&mut std::io::stdout().lock(), Path::new("stdout"))?,
    }
    Ok(0)
}

/// The images that are meant, each once.
fn chosen(args: &Args, cache: &Cache) -> Result<Vec<Image>, Failure> {
    let mut images: Vec<Image> = Vec::new();
    for text in &args.images {
        let reference = options::reference(text)?;
        let mut platforms = args.arch.clone();
        if args.all_platforms {
            let cached = cache.images()?.into_iter();
            let cached = cached.filter(|image| image.reference == reference);
            platforms.extend(cached.map(|image| image.platform));
        }
        if platforms.is_empty() {
            platforms.push(Platform::host());
        }
        for platform in platforms {
            let image = cache.find(&reference, &platform)?.ok_or_else(|| {
                Failure::new(format!("{reference} ({platform}) is not in the cache"))
                    .hint(format!("fetch it: box pull {reference}"))
            })?;
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
