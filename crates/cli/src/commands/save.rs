//! `box save`.

use clap_complete::ArgValueCandidates;
use std::fs::{self, File};
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use box_cache::{Cache, Error, Image, Platform};

use crate::bars::Bars;
use crate::options;
use crate::report::Failure;
use crate::settings::Settings;

/// Bytes written at once.
const WRITE: usize = 1 << 20;

/// Writes images into one file, an OCI archive that box load, skopeo and podman read (oci-archive:). The file is there
/// only once it is whole.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box save alpine:3.20 -o alpine.tar\n  box save alpine | ssh host box load"
)]
pub struct Args {
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(crate::complete::references))]
    images: Vec<String>,
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// For this architecture [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let _hold = cache.hold()?;
    let mut images: Vec<Image> = Vec::new();
    for text in &args.images {
        let reference = options::reference(text)?;
        let image = cache.find(&reference, &platform)?.ok_or_else(|| {
            Failure::new(format!("{reference} ({platform}) is not in the cache"))
                .hint(format!("fetch it: box pull {reference}"))
        })?;
        if images
            .iter()
            .all(|other| other.reference != image.reference)
        {
            images.push(image);
        }
    }
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
        Some(path) if is_special(path) => {
            let mut file = File::options()
                .write(true)
                .open(path)
                .map_err(Error::io("open", path))?;
            save(&mut file, path)?;
        }
        Some(path) => write_whole(path, save)?,
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

/// Whether it is something that cannot be replaced by a file: a device, a pipe.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Writes a file aside and gives it its name when it is whole and on the disk.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write, &Path) -> Result<(), Error>,
) -> Result<(), Failure> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.part", std::process::id()));
    let aside = PathBuf::from(aside);
    let written = (|| {
        let mut file = File::create(&aside).map_err(Error::io("create", &aside))?;
        write(&mut file, path)?;
        file.sync_all().map_err(Error::io("sync", &aside))?;
        fs::rename(&aside, path).map_err(Error::io("rename a new file to", path))
    })();
    if written.is_err() && aside.exists() {
        fs::remove_file(&aside).map_err(Error::io("delete", &aside))?;
    }
    Ok(written?)
}
