//! Answers to a shell that completes what is being typed.

use clap::CommandFactory;
use clap_complete::CompleteEnv;

use crate::command_line::args::Args;
use crate::commands::program::completions::VARIABLE;

/// Answers a shell that asks, and ends the process; returns where none does.
pub fn answer() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(Args::command)
            .var(VARIABLE)
            .complete();
    }
}
