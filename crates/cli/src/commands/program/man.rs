//! `box man`.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::files::destination;
use crate::report::{Failure, cause};

/// Writes the manual pages into a directory: box.1, box-run.1 and so on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  box man /usr/local/share/man/man1")]
pub struct Args {
    /// The directory; it is made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(args: &Args, all: Command) -> Result<u8, Failure> {
    let told = |error: std::io::Error| {
        Failure::new(format!(
            "write manual pages to {}: {}",
            args.directory.display(),
            cause(&error)
        ))
    };
    std::fs::create_dir_all(&args.directory).map_err(told)?;
    let mut all = all.disable_help_subcommand(true);
    all.build();
    write(&all, &args.directory).map_err(told)?;
    Ok(0)
}

/// The page of a command, after those of its subcommands.
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
