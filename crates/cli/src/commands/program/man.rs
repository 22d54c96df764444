//! `box man`.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::files::destination;
use crate::report::{Failure, cause};

/// Writes the manual pages to a directory: box.1, box-run.1 and so on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box man /usr/local/share/man/man1")]
pub struct Args {
    /// Target directory; created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(args: &Args, all: Command) -> Result<u8, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!(
            "cannot write manual pages to {}: {}",
            args.directory.display(),
            cause(&error)
        ))
    };
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    let mut all = all.disable_help_subcommand(true);
    all.build();
    write(&all, &args.directory).map_err(failed)?;
    Ok(0)
}

/// Writes the pages of a command's subcommands and its own.
fn write(command: &Command, directory: &Path) -> std::io::Result<()> {
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        write(inner, directory)?;
    }
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    destination::write(&directory.join(page.get_filename()), &text)
}
