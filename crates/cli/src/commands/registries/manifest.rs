//! `box manifest`.

use std::io::IsTerminal;

use box_cache::Platform;
use box_registry::Registry;
use serde_json::Value;

use crate::bars::Bars;
use crate::image::fetch::registry::RegistryArgs;
use crate::image::remote;
use crate::options;
use crate::output::{self, Format};
use crate::report::Failure;
use crate::settings::Settings;

/// Prints the manifest or the index that a name stands for in its registry. What is written to a file or a pipe is byte for byte what
/// the registry has, so that its SHA-256 digest is that of the image.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box manifest nginx\n  box manifest --arch arm64 ghcr.io/org/app:1.2 | jq .layers"
)]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Of an index, print the manifest for this architecture
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    /// Print the bytes as they are, or indented JSON (json)
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true,
        hide_default_value = true
    )]
    format: Format,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let reference = options::reference(&args.image)?;
    let name = remote::repository(&reference)?;
    let options = args.registry.options(settings)?;
    let bars = Bars::new(settings);
    let session = Registry::new(&options, &bars);
    let from = session.repository(&name)?;
    let document = match &args.arch {
        None => remote::document(&from, &reference)?,
        Some(arch) => remote::find(&from, &reference, arch)?.document().clone(),
    };
    drop(session);
    drop(bars);
    let text = std::str::from_utf8(&document.bytes)
        .map_err(|_| Failure::new(format!("the manifest {} is no text", document.digest)))?;
    let is_raw = args.format == Format::Table && !std::io::stdout().is_terminal();
    match is_raw {
        true => output::text(text)?,
        // A terminal would act on some characters.
        false => {
            let value: Value = serde_json::from_str(text).map_err(|error| {
                Failure::new(format!(
                    "the manifest {} is not JSON: {error}",
                    document.digest
                ))
            })?;
            output::json(&value)?;
        }
    }
    Ok(0)
}
