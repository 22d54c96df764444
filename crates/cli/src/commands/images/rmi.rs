//! `box rmi`.

use box_cache::{Cache, Image, Platform, Removed};

use clap_complete::ArgValueCandidates;

use crate::image::named;
use crate::options;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Removes images from the cache. An image that has other names keeps them. Containers that were created from it keep working.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box rmi alpine:3.20\n  box rmi 3f53d0e6a1b2")]
pub struct Args {
    /// The images: names, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(crate::options::completion::references))]
    images: Vec<String>,
    /// Remove only the images of this architecture [default: all]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Ignore missing images, and remove an image named by its id with all its names
    #[arg(short, long)]
    force: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let cache = Cache::open_existing(&settings.dirs.cache);
    let mut failures = Vec::new();
    for text in &args.images {
        match remove(&cache, text, args) {
            Ok(()) => {}
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

fn remove(cache: &Cache, text: &str, args: &Args) -> Result<(), Failure> {
    // An id is not always a reference.
    let reference = options::reference(text);
    let mut removed = match &reference {
        Ok(reference) => cache.remove(reference, args.arch.as_ref())?,
        Err(_) => Vec::new(),
    };
    if removed.is_empty() {
        removed = remove_by_id(cache, text, args)?;
    }
    if removed.is_empty() && !args.force {
        let name = reference?;
        let platform = args
            .arch
            .as_ref()
            .map_or(String::new(), |arch| format!(" ({arch})"));
        return Err(
            Failure::new(format!("{name}{platform} is not in the cache"))
                .hint("list the cached images: box images"),
        );
    }
    for image in removed {
        output::line(&format!("{} {}", image.reference, image.manifest_digest))?;
    }
    Ok(())
}

/// Removes the image whose id begins with a text. One that has several names is removed with all of them only if that is forced, as
/// with docker.
fn remove_by_id(cache: &Cache, id: &str, args: &Args) -> Result<Vec<Removed>, Failure> {
    let fits = |image: &Image| {
        let arch = args.arch.as_ref();
        arch.is_none_or(|arch| image.platform == *arch)
    };
    let mut images = named::by_id(cache, id)?;
    images.retain(fits);
    // What is kept under its digest alone is not a name that anyone chose.
    let names: Vec<String> = images
        .iter()
        .filter(|image| image.reference.digest().is_none())
        .map(|image| image.reference.to_string())
        .collect();
    if names.len() > 1 && !args.force {
        return Err(Failure::new(format!(
            "cannot remove {id}: the image has several names: {}",
            names.join(", ")
        ))
        .hint("remove one of the names, or all of them with --force"));
    }
    let mut removed = Vec::new();
    for image in images {
        removed.extend(cache.remove(&image.reference, Some(&image.platform))?);
    }
    Ok(removed)
}
