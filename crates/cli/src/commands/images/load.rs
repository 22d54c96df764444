//! `box load`.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use box_cache::{Cache, Compression, Error, LoadOptions, Reference};
use box_unpack::Limits;

use crate::bars::Bars;
use crate::commands::images::list::Row;
use crate::image::decoded::Decoded;
use crate::options;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Loads images from a file into the cache: an OCI archive, as box, skopeo and podman save it, or an archive of docker save,
/// compressed or not. Every blob is compared with the digest that the file gives for it. Since the origin of the file is unknown,
/// the images are listed as not verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box load -i alpine.tar\n  docker save debian:12 | box load")]
pub struct Args {
    /// File to read [default: stdin]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Name of the image [default: the name in the file]
    #[arg(long, value_name = "IMAGE")]
    name: Option<String>,
    /// Print text or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: output::Format,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let name: Option<Reference> = args.name.as_deref().map(options::reference).transpose()?;
    let (input, what, total): (Box<dyn Read>, String, Option<u64>) =
        match args.input.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => {
                let file = File::open(path).map_err(Error::io("open", path))?;
                let total = plain_size(&file).map_err(Error::io("read", path))?;
                (Box::new(file), path.display().to_string(), total)
            }
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::new("cannot read an archive from a terminal")
                    .hint("give a file: box load -i FILE"));
            }
            None => (Box::new(std::io::stdin().lock()), "stdin".to_owned(), None),
        };
    let cache = Cache::open(&settings.dirs.cache)?;
    let options = LoadOptions {
        name,
        total,
        decompress: Some(decompress),
    };
    let input = Decoded::new(input, Limits::default());
    let images = cache.load(input, &what, &options, &Bars::new(settings))?;
    match args.format {
        output::Format::Json => output::json(&images.iter().map(Row::of).collect::<Vec<_>>())?,
        output::Format::Table => {
            for image in &images {
                match settings.quiet {
                    true => output::line(&image.manifest_digest.to_string())?,
                    false => output::line(&format!(
                        "loaded {} ({}), {}, {}",
                        image.reference,
                        image.platform,
                        image.manifest_digest,
                        output::size(image.size)
                    ))?,
                }
            }
        }
    }
    Ok(0)
}

fn decompress(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    io::copy(&mut Decoded::new(from, Limits::default()), to).map(drop)
}

/// The number of bytes that reading a file will yield, if it is a regular file that is not compressed.
fn plain_size(file: &File) -> std::io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    let mut head = [0; Compression::HEAD];
    let is_plain = metadata.is_file()
        && file.read_at(&mut head, 0)? == head.len()
        && Compression::detect(&head) == Compression::None;
    Ok(is_plain.then_some(metadata.len()))
}
