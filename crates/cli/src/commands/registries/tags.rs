//! `box tags`.

use box_registry::{Registry, RepositoryName};

use crate::bars::Bars;
use crate::image::fetch::registry::RegistryArgs;
use crate::options;
use crate::output::{self, Format};
use crate::report::Failure;
use crate::settings::Settings;

/// Lists all tags of a repository, in the order in which the registry has them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box tags ghcr.io/org/app")]
pub struct Args {
    /// The repository; a tag is ignored
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one tag a line, or JSON (json)
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let reference = options::reference(&args.name)?;
    let Some(name) = RepositoryName::of(&reference) else {
        return Err(Failure::new(format!(
            "cannot list the tags of {}: Alpine's own releases are in no registry",
            reference.name()
        ))
        .hint("list the releases of Alpine: box list-remote; docker's image: box tags docker.io/library/alpine"));
    };
    let options = args.registry.options(settings)?;
    let bars = Bars::new(settings);
    let tags = Registry::new(&options, &bars).repository(&name)?.tags()?;
    drop(bars);
    match args.format {
        Format::Json => output::json(&tags)?,
        Format::Table => output::lines(&tags.join("\n"))?,
    }
    Ok(0)
}
