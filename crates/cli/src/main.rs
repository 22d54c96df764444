//! The box command line: read what was typed, call the libraries, print, exit.
#![cfg_attr(not(test), no_main)]

mod args;
mod bars;
mod commands;
mod complete;
mod config;
mod container;
mod containers;
mod decoded;
mod destination;
mod dirs;
#[cfg(not(test))]
mod entry;
mod fetch;
mod interrupt;
mod layers;
mod limits;
mod listing;
mod log;
mod options;
mod output;
mod ownership;
mod quick;
mod report;
mod settings;
mod supply;
mod switches;
mod trees;
mod trust;
mod usage;

use crate::report::Failure;
use crate::settings::Settings;

/// Everything; returns the exit status. [`entry`] calls it.
#[cfg_attr(test, allow(dead_code))]
fn begin() -> u8 {
    match run() {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

#[cfg_attr(test, allow(dead_code))]
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
