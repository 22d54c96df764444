//! Calls the code of the command that was typed.

use clap::CommandFactory;

use crate::command_line::args::{Args, Command};
use crate::commands::{cache, containers, images, inside, inspect, program, registries};
use crate::report::Failure;
use crate::settings::Settings;

/// Runs the command and returns the exit status.
pub fn dispatch(command: Command, settings: &Settings) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => containers::run::run(&args, settings),
        other => dispatch_other(other, settings),
    }
}

/// Not inlined: one function with all commands in it has a stack frame of many pages, and each start of a container would touch them.
#[inline(never)]
fn dispatch_other(command: Command, settings: &Settings) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => containers::run::run(&args, settings),
        Command::Pull(args) => images::pull::run(&args, settings),
        Command::Start(args) => containers::start::run(&args, settings),
        Command::Ps(args) => containers::ps::run(&args, settings),
        Command::Rm(args) => containers::rm::run(&args, settings),
        Command::Images(args) => images::list::run(&args, settings),
        Command::Tag(args) => images::tag::run(&args, settings),
        Command::History(args) => images::history::run(&args, settings),
        Command::Rmi(args) => images::rmi::run(&args, settings),
        Command::Inspect(args) => inspect::run(&args, settings),
        Command::Unpack(args) => images::unpack::run(&args, settings),
        Command::Import(args) => images::import::run(&args, settings),
        Command::Lock(args) => images::lock::run(&args, settings),
        Command::ListRemote(args) => images::list_remote::run(&args, settings),
        Command::Outdated(args) => images::outdated::run(&args, settings),
        Command::Save(args) => images::save::run(&args, settings),
        Command::Load(args) => images::load::run(&args, settings),
        Command::Push(args) => registries::push::run(&args, settings),
        Command::Tags(args) => registries::tags::run(&args, settings),
        Command::Manifest(args) => registries::manifest::run(&args, settings),
        Command::Login(args) => registries::login::run(&args, settings),
        Command::Logout(args) => registries::logout::run(&args, settings),
        Command::Verify(args) => cache::verify::run(&args, settings),
        Command::Gc(args) => cache::gc::run(&args, settings),
        Command::Df(args) => cache::df::run(&args, settings),
        Command::Stats(args) => inside::stats::run(&args, settings),
        Command::Update(args) => containers::update::run(&args, settings),
        Command::Pause(args) => containers::pause::run(&args, settings),
        Command::Unpause(args) => containers::unpause::run(&args, settings),
        Command::Exec(args) => inside::exec::run(&args, settings),
        Command::Attach(args) => inside::attach::run(&args, settings),
        Command::Logs(args) => inside::logs::run(&args, settings),
        Command::Stop(args) => containers::stop::run(&args, settings),
        Command::Restart(args) => containers::restart::run(&args, settings),
        Command::Kill(args) => containers::kill::run(&args, settings),
        Command::Wait(args) => containers::wait::run(&args, settings),
        Command::Top(args) => inside::top::run(&args, settings),
        Command::Rename(args) => containers::rename::run(&args, settings),
        Command::Cp(args) => inside::cp::run(&args, settings),
        Command::Diff(args) => inside::diff::run(&args, settings),
        Command::Commit(args) => images::commit::run(&args, settings),
        Command::Prune(args) => containers::prune::run(&args, settings),
        Command::Completions(args) => program::completions::run(&args),
        Command::Man(args) => program::man::run(&args, Args::command()),
        Command::Version(args) => program::version::run(&args),
    }
}
