//! What a person can type: the verbs and the options that every verb has.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::quick::Slot;

/// Run commands in the root filesystems of Linux distributions, verified and cached.
#[derive(Debug, Parser)]
#[command(
    name = "box",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    infer_long_args = false,
    after_help = "Try it:\n  box run -it --rm alpine       a shell in Alpine Linux\n  box run --help                what a container can be given"
)]
pub struct Args {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every verb.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Where box keeps everything [env: BOX_ROOT] [default: /var/lib/box, or $XDG_DATA_HOME/box when not root]
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    pub root: Option<PathBuf>,
    /// Where images are kept, as an OCI image layout [env: BOX_CACHE] [default: ROOT/cache]
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    pub cache: Option<PathBuf>,
    /// Fetch from this mirror (http, https or file URL); repeat it for more, tried in order [env: BOX_MIRROR]
    #[arg(
        long = "mirror",
        global = true,
        value_name = "URL",
        display_order = 902
    )]
    pub mirrors: Vec<String>,
    /// Open no socket: what is cached works, nothing else does [env: BOX_OFFLINE]
    #[arg(long, global = true, display_order = 903)]
    pub offline: bool,
    /// Show progress on stderr as bars (tty), lines (plain), not at all (none), or as it fits (auto)
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true,
        display_order = 904
    )]
    pub progress: Progress,
    /// Print results in their shortest form and no progress
    #[arg(short, long, global = true, display_order = 905)]
    pub quiet: bool,
    /// Log what is done on stderr
    #[arg(long, global = true, display_order = 906)]
    pub debug: bool,
}

impl Globals {
    /// Where the value of a flag is kept; none for those whose values clap checks.
    pub fn slot(&mut self, flag: &str) -> Option<Slot<'_>> {
        Some(match flag {
            "--root" => Slot::Path(&mut self.root),
            "--cache" => Slot::Path(&mut self.cache),
            "--offline" => Slot::Switch(&mut self.offline),
            "-q" | "--quiet" => Slot::Switch(&mut self.quiet),
            "--debug" => Slot::Switch(&mut self.debug),
            _ => return None,
        })
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Progress {
    /// Bars where stderr is a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Bars.
    Tty,
    /// One line at the start and at the end of each step.
    Plain,
    /// Nothing.
    None,
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs; docs/cli.md has the fields.
    Json,
}

/// The verbs. A new one is a line here, two in `commands.rs` and a file of its own. The options of a verb are defined when it
/// is the one that was typed: forty definitions take longer than most verbs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Fetch an image, verify it and keep it in the cache
    Pull(commands::pull::Args),
    /// Run a command in a new container
    Run(Box<commands::run::Args>),
    /// Run a kept container again, its files as they were left
    Start(commands::start::Args),
    /// List containers
    Ps(commands::ps::Args),
    /// Delete containers
    Rm(commands::rm::Args),
    /// Run a further command in a running container
    Exec(commands::exec::Args),
    /// Connect to a container that runs in the background
    Attach(commands::attach::Args),
    /// Print what a container wrote in the background
    Logs(commands::logs::Args),
    /// Stop containers
    Stop(commands::stop::Args),
    /// Stop containers and run them again
    Restart(commands::restart::Args),
    /// Send a signal to containers
    Kill(commands::kill::Args),
    /// Wait until containers have ended
    Wait(commands::wait::Args),
    /// List the processes of a container
    Top(commands::top::Args),
    /// Give a container another name
    Rename(commands::rename::Args),
    /// Copy files into and out of a container
    Cp(commands::cp::Args),
    /// List what a container changed of its image
    Diff(commands::diff::Args),
    /// Make an image of a container
    Commit(commands::commit::Args),
    /// Delete all containers that do not run
    Prune(commands::prune::Args),
    /// List the images in the cache
    Images(commands::images::Args),
    /// Delete images from the cache
    Rmi(commands::rmi::Args),
    /// Show everything about images or containers, as JSON
    Inspect(commands::inspect::Args),
    /// Write the files of an image into a directory
    Unpack(commands::unpack::Args),
    /// Make an image of a root filesystem in a tarball
    Import(commands::import::Args),
    /// Write down exactly which release each image is
    Lock(commands::lock::Args),
    /// List what a mirror offers
    ListRemote(commands::list_remote::Args),
    /// Say which images have moved on
    Outdated(commands::outdated::Args),
    /// Write images into a file for other machines and tools
    Save(commands::save::Args),
    /// Take images out of a file
    Load(commands::load::Args),
    /// Read the cached blobs again and set damaged ones aside
    Verify(commands::verify::Args),
    /// Delete what no image and no container needs
    Gc(commands::gc::Args),
    /// Show what takes space on the disk
    Df(commands::df::Args),
    /// Show what running containers use
    Stats(commands::stats::Args),
    /// Change the limits of containers
    Update(commands::update::Args),
    /// Stop the processes of containers where they are
    Pause(commands::pause::Args),
    /// Let paused containers go on
    Unpause(commands::unpause::Args),
    /// Print completions for a shell
    Completions(commands::completions::Args),
    /// Write the manual pages
    Man(commands::man::Args),
    /// Print the version of box and what it runs on
    Version(commands::version::Args),
}
