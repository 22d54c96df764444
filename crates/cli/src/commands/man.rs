//! `box man`.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::report::{Failure, cause};

/// Writes the manual pages into a directory: box.1, box-run.1 and so on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box man /usr/local/share/man/man1")]
pub struct Args {
    /// The directory; it is made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(args: &Args) -> Result<u8, Failure> {
    let told = |error: std::io::Error| {
        Failure::new(format!(
            "write manual pages to {}: {}",
            args.directory.display(),
            cause(&error)
        ))
    };
    std::fs::create_dir_all(&args.directory).map_err(told)?;
    clap_mangen::generate_to(crate::args::Args::command(), &args.directory).map_err(told)?;
    Ok(0)
}
