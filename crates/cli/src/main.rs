//! The box command line: reads the arguments, calls the libraries, prints and exits.
#![cfg_attr(not(test), no_main)]

mod bars;
mod command_line;
mod commands;
#[cfg(not(test))]
mod entry;
mod files;
mod image;
mod interrupt;
mod options;
mod output;
mod report;
mod settings;

use crate::command_line::dispatch::dispatch;
use crate::report::Failure;
use crate::settings::Settings;

/// Runs the program and returns its exit status. Called by [`entry`].
#[cfg_attr(test, allow(dead_code))]
fn begin() -> u8 {
    match run() {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

#[cfg_attr(test, allow(dead_code))]
fn run() -> Result<u8, Failure> {
    command_line::completion::answer();
    let args = command_line::read()?;
    report::log::listen(args.globals.debug);
    let settings = Settings::read(&args.globals)?;
    let status = dispatch(args.command, &settings);
    // Last, so that it delays nothing that the user asked for.
    settings.containers().sweep();
    status
}
