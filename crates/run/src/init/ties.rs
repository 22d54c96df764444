//! What ties a process to box: it dies with box. In the child.

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::channel::{Channel, Failed, Step};
use crate::sys::process;

/// SIGKILL for us when the parent dies. It may have died before the call: then its end of the line is closed.
pub(crate) fn die_with_parent(channel: &Channel) -> Result<(), Failed> {
    let failed = Step::DieWithParent.failed(0);
    set_parent_process_death_signal(Some(Signal::KILL))
        .and_then(|()| channel.is_hung_up())
        .map_err(failed)
        .map(|gone| {
            if gone {
                process::exit(125)
            }
        })
}
