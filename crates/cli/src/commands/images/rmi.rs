//! `box rmi`.

use box_cache::{Cache, Platform};

use clap_complete::ArgValueCandidates;

use crate::options;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Removes images from the cache. Containers that were created from them keep working.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box rmi alpine:3.20")]
pub struct Args {
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(crate::options::completion::references))]
    images: Vec<String>,
    /// Remove only the images of this architecture [default: all]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Ignore missing images
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
    let reference = options::reference(text)?;
    let removed = cache.remove(&reference, args.arch.as_ref())?;
    if removed.is_empty() && !args.force {
        let platform = args
            .arch
            .as_ref()
            .map_or(String::new(), |arch| format!(" ({arch})"));
        return Err(
            Failure::new(format!("{reference}{platform} is not in the cache"))
                .hint("list the cached images: box images"),
        );
    }
    for image in removed {
        output::line(&format!("{} {}", image.reference, image.manifest_digest))?;
    }
    Ok(())
}
