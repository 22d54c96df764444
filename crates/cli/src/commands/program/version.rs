//! `box version`.

use serde::Serialize;

use crate::output;
use crate::output::Format;
use crate::report::Failure;

/// Prints the version of box, the platform it was built for and the kernel it runs on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print text or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    platform: String,
    kernel: String,
}

pub fn run(args: &Args) -> Result<u8, Failure> {
    let kernel = rustix::system::uname();
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        platform: box_cache::Platform::host().to_string(),
        kernel: kernel.release().to_string_lossy().into_owned(),
    };
    match args.format {
        Format::Json => output::json(&version)?,
        Format::Table => output::line(&format!(
            "box {} ({}, kernel {})",
            version.version, version.platform, version.kernel
        ))?,
    }
    Ok(0)
}
