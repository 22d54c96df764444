//! Answers completion requests of shells.

use clap::CommandFactory;
use clap_complete::CompleteEnv;

use crate::command_line::args::Args;
use crate::commands::program::completions::VARIABLE;

/// Answers the request of a shell and ends the process. Returns if there is no request.
pub fn answer() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(Args::command)
            .var(VARIABLE)
            .complete();
    }
}
