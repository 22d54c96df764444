//! What a person can type: the verbs and the options that every verb has.

use clap::{Parser, Subcommand};

use crate::commands::{cache, containers, images, inside, inspect, program};
use crate::options::globals::Globals;

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

/// The commands. A new one is a line here, a line in `dispatch.rs` and a file of its own. The options of a command are defined when it
/// is the one that was typed: to define those of all forty takes longer than most commands run.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Fetch an image, verify it and keep it in the cache
    Pull(images::pull::Args),
    /// Run a command in a new container
    Run(Box<containers::run::Args>),
    /// Run a kept container again, its files as they were left
    Start(containers::start::Args),
    /// List containers
    Ps(containers::ps::Args),
    /// Delete containers
    Rm(containers::rm::Args),
    /// Run a further command in a running container
    Exec(inside::exec::Args),
    /// Connect to a container that runs in the background
    Attach(inside::attach::Args),
    /// Print what a container wrote in the background
    Logs(inside::logs::Args),
    /// Stop containers
    Stop(containers::stop::Args),
    /// Stop containers and run them again
    Restart(containers::restart::Args),
    /// Send a signal to containers
    Kill(containers::kill::Args),
    /// Wait until containers have ended
    Wait(containers::wait::Args),
    /// List the processes of a container
    Top(inside::top::Args),
    /// Give a container another name
    Rename(containers::rename::Args),
    /// Copy files into and out of a container
    Cp(inside::cp::Args),
    /// List what a container changed of its image
    Diff(inside::diff::Args),
    /// Make an image of a container
    Commit(images::commit::Args),
    /// Delete all containers that do not run
    Prune(containers::prune::Args),
    /// List the images in the cache
    Images(images::list::Args),
    /// Delete images from the cache
    Rmi(images::rmi::Args),
    /// Show everything about images or containers, as JSON
    Inspect(inspect::Args),
    /// Write the files of an image into a directory
    Unpack(images::unpack::Args),
    /// Make an image of a root filesystem in a tarball
    Import(images::import::Args),
    /// Write down exactly which release each image is
    Lock(images::lock::Args),
    /// List what a mirror offers
    ListRemote(images::list_remote::Args),
    /// Say which images have moved on
    Outdated(images::outdated::Args),
    /// Write images into a file for other machines and tools
    Save(images::save::Args),
    /// Take images out of a file
    Load(images::load::Args),
    /// Read the cached blobs again and set damaged ones aside
    Verify(cache::verify::Args),
    /// Delete what no image and no container needs
    Gc(cache::gc::Args),
    /// Show what takes space on the disk
    Df(cache::df::Args),
    /// Show what running containers use
    Stats(inside::stats::Args),
    /// Change the limits of containers
    Update(containers::update::Args),
    /// Stop the processes of containers where they are
    Pause(containers::pause::Args),
    /// Let paused containers go on
    Unpause(containers::unpause::Args),
    /// Print completions for a shell
    Completions(program::completions::Args),
    /// Write the manual pages
    Man(program::man::Args),
    /// Print the version of box and what it runs on
    Version(program::version::Args),
}
