//! The death signal that ties a process to box. In the child.

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::channel::{Channel, Failed, Step};
use crate::sys::process;

/// Requests SIGKILL at the parent's death. If the parent died before the call, its end of the channel is closed, and this process
/// exits.
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
