//! `box tag`.

use box_cache::Cache;
use clap_complete::ArgValueCandidates;

use crate::image::named;
use crate::options;
use crate::report::Failure;
use crate::settings::Settings;

/// Gives an image further names. A name that another image had is moved to this one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box tag app registry.example/team/app:1.2\n  box tag 3f53d0e6a1b2 app:good"
)]
pub struct Args {
    /// The image: a name, or the beginning of its id
    #[arg(value_name = "IMAGE", add = ArgValueCandidates::new(crate::options::completion::references))]
    image: String,
    /// The new names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let mut names = Vec::new();
    for text in &args.names {
        let name = options::reference(text)?;
        if name.digest().is_some() {
            return Err(Failure::new(format!(
                "cannot tag {text}: a new name cannot have a digest"
            ))
            .hint("name it like registry.example/team/app:1.2"));
        }
        names.push(name);
    }
    let cache = Cache::open_existing(&settings.dirs.cache);
    let images = named::find(&cache, &args.image)?;
    let hold = cache.hold()?;
    for name in &names {
        cache.tag(&hold, &images, name)?;
    }
    Ok(0)
}
