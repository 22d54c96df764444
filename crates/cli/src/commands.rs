//! One verb, one file: each builds values, calls the libraries in the order of the data, and prints.

pub mod attach;
pub mod commit;
pub mod completions;
pub mod cp;
pub mod df;
pub mod diff;
pub mod exec;
pub mod gc;
pub mod images;
pub mod import;
pub mod inspect;
pub mod kill;
pub mod list_remote;
pub mod load;
pub mod lock;
pub mod logs;
pub mod man;
pub mod outdated;
pub mod pause;
pub mod prune;
pub mod ps;
pub mod pull;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod unpack;
pub mod unpause;
pub mod update;
pub mod verify;
pub mod version;
pub mod wait;

use crate::args::Command;
use crate::report::Failure;
use crate::settings::Settings;

/// Does what was asked for, and returns the exit status.
pub fn dispatch(command: Command, settings: &Settings) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(&args, settings),
        other => dispatch_rarer(other, settings),
    }
}

/// Not inlined: one function with all verbs in it has a frame of many pages, and a start would pay for each.
#[inline(never)]
fn dispatch_rarer(command: Command, settings: &Settings) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(&args, settings),
        Command::Pull(args) => pull::run(&args, settings),
        Command::Start(args) => start::run(&args, settings),
        Command::Ps(args) => ps::run(&args, settings),
        Command::Rm(args) => rm::run(&args, settings),
        Command::Images(args) => images::run(&args, settings),
        Command::Rmi(args) => rmi::run(&args, settings),
        Command::Inspect(args) => inspect::run(&args, settings),
        Command::Unpack(args) => unpack::run(&args, settings),
        Command::Import(args) => import::run(&args, settings),
        Command::Lock(args) => lock::run(&args, settings),
        Command::ListRemote(args) => list_remote::run(&args, settings),
        Command::Outdated(args) => outdated::run(&args, settings),
        Command::Save(args) => save::run(&args, settings),
        Command::Load(args) => load::run(&args, settings),
        Command::Verify(args) => verify::run(&args, settings),
        Command::Gc(args) => gc::run(&args, settings),
        Command::Df(args) => df::run(&args, settings),
        Command::Stats(args) => stats::run(&args, settings),
        Command::Update(args) => update::run(&args, settings),
        Command::Pause(args) => pause::run(&args, settings),
        Command::Unpause(args) => unpause::run(&args, settings),
        Command::Exec(args) => exec::run(&args, settings),
        Command::Attach(args) => attach::run(&args, settings),
        Command::Logs(args) => logs::run(&args, settings),
        Command::Stop(args) => stop::run(&args, settings),
        Command::Restart(args) => restart::run(&args, settings),
        Command::Kill(args) => kill::run(&args, settings),
        Command::Wait(args) => wait::run(&args, settings),
        Command::Top(args) => top::run(&args, settings),
        Command::Rename(args) => rename::run(&args, settings),
        Command::Cp(args) => cp::run(&args, settings),
        Command::Diff(args) => diff::run(&args, settings),
        Command::Commit(args) => commit::run(&args, settings),
        Command::Prune(args) => prune::run(&args, settings),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Version(args) => version::run(&args),
    }
}
