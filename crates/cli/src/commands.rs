//! One verb, one file: each builds values, calls the libraries in the order of the data, and prints.

pub mod df;
pub mod gc;
pub mod images;
pub mod import;
pub mod inspect;
pub mod list_remote;
pub mod load;
pub mod lock;
pub mod outdated;
pub mod pause;
pub mod ps;
pub mod pull;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod start;
pub mod stats;
pub mod unpack;
pub mod unpause;
pub mod update;
pub mod verify;
pub mod version;

use crate::args::Command;
use crate::report::Failure;
use crate::settings::Settings;

/// Does what was asked for, and returns the exit status.
pub fn dispatch(command: Command, settings: &Settings) -> Result<u8, Failure> {
    match command {
        Command::Pull(args) => pull::run(&args, settings),
        Command::Run(args) => run::run(&args, settings),
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
        Command::Version(args) => version::run(&args),
    }
}
