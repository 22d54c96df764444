//! The box command line: read what was typed, call the libraries, print, exit.

mod args;
mod bars;
mod commands;
mod complete;
mod config;
mod container;
mod containers;
mod decoded;
mod dirs;
mod fetch;
mod interrupt;
mod layers;
mod limits;
mod listing;
mod log;
mod options;
mod output;
mod report;
mod settings;
mod supply;
mod trees;
mod usage;

use std::process::ExitCode;

use crate::report::Failure;
use crate::settings::Settings;

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(failure) => ExitCode::from(failure.report()),
    }
}

fn run() -> Result<u8, Failure> {
    complete::answer();
    let args = usage::read()?;
    log::listen(args.globals.debug);
    let settings = Settings::read(&args.globals)?;
    let status = commands::dispatch(args.command, &settings);
    // In passing, and last: it delays nothing that was asked for.
    containers::open(&settings).sweep();
    status
}
