//! The whole command line as clap defines it: the commands, and the options that all of them have.

use clap::{Parser, Subcommand};

use crate::commands::{cache, containers, images, inside, inspect, program, registries};
use crate::options::globals::Globals;

/// Run commands in the root filesystems of Linux distributions, verified and cached.
#[derive(Debug, Parser)]
#[command(
    name = "box",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    infer_long_args = false,
    after_help = "Try it:\n  box run -it --rm alpine       a shell in Alpine Linux\n  box run --help                all options of a container"
)]
pub struct Args {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands. A new one needs a line here, a line in `dispatch.rs` and a file of its own. clap defines the options of a command only
/// when that command was typed (`defer`): defining those of all forty takes longer than most commands run.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Fetch images, verify them and store them in the cache
    Pull(images::pull::Args),
    /// Run a command in a new container
    Run(Box<containers::run::Args>),
    /// Start stopped containers
    Start(containers::start::Args),
    /// List containers
    Ps(containers::ps::Args),
    /// Remove containers
    Rm(containers::rm::Args),
    /// Run another command in a running container
    Exec(inside::exec::Args),
    /// Attach to a container that runs in the background
    Attach(inside::attach::Args),
    /// Print the output of a container that ran in the background
    Logs(inside::logs::Args),
    /// Stop containers
    Stop(containers::stop::Args),
    /// Restart containers
    Restart(containers::restart::Args),
    /// Send a signal to containers
    Kill(containers::kill::Args),
    /// Wait for containers to exit and print their exit statuses
    Wait(containers::wait::Args),
    /// List the processes of a container
    Top(inside::top::Args),
    /// Rename a container
    Rename(containers::rename::Args),
    /// Copy files between a container and the host
    Cp(inside::cp::Args),
    /// List the changes a container made to the files of its image
    Diff(inside::diff::Args),
    /// Create an image from a container
    Commit(images::commit::Args),
    /// Remove all stopped containers
    Prune(containers::prune::Args),
    /// List the images in the cache
    Images(images::list::Args),
    /// Give an image further names
    Tag(images::tag::Args),
    /// Show the steps that made an image
    History(images::history::Args),
    /// Remove images from the cache
    Rmi(images::rmi::Args),
    /// Show all details of images or containers, as JSON
    Inspect(inspect::Args),
    /// Write the files of an image into a directory
    Unpack(images::unpack::Args),
    /// Create an image from a root filesystem in a tarball
    Import(images::import::Args),
    /// Record the exact release of each image in a lock file
    Lock(images::lock::Args),
    /// List the releases that a mirror offers
    ListRemote(images::list_remote::Args),
    /// List cached images and pins that are out of date
    Outdated(images::outdated::Args),
    /// Save images to a file for other machines and tools
    Save(images::save::Args),
    /// Load images from a file
    Load(images::load::Args),
    /// Send images to a registry
    Push(registries::push::Args),
    /// List the tags of a repository in a registry
    Tags(registries::tags::Args),
    /// Print a manifest as its registry has it
    Manifest(registries::manifest::Args),
    /// Log in to a registry
    Login(registries::login::Args),
    /// Log out of a registry
    Logout(registries::logout::Args),
    /// Check the blobs in the cache and move damaged ones to quarantine
    Verify(cache::verify::Args),
    /// Delete data that no image and no container uses
    Gc(cache::gc::Args),
    /// Show disk usage
    Df(cache::df::Args),
    /// Show the resource usage of running containers
    Stats(inside::stats::Args),
    /// Change the limits of containers
    Update(containers::update::Args),
    /// Pause all processes of containers
    Pause(containers::pause::Args),
    /// Resume paused containers
    Unpause(containers::unpause::Args),
    /// Print a completion script for a shell
    Completions(program::completions::Args),
    /// Write the manual pages
    Man(program::man::Args),
    /// Print the version of box, its platform and the kernel
    Version(program::version::Args),
}
