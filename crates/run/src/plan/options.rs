//! How a bundle is run, beyond what its spec can say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a bundle is run, beyond what a runtime spec can say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// A reaper as PID 1, and the command below it.
    pub init: bool,
    /// Change the root by chroot(2), for hosts whose root is the initramfs.
    pub no_pivot: bool,
    /// Descriptors 3 to 2 + N reach the command.
    pub preserve_fds: u32,
    /// TERM after this, and status 124.
    pub timeout: Option<Duration>,
    /// KILL this long after the TERM of `timeout`; 10 seconds if `None`.
    pub kill_after: Option<Duration>,
    /// Ask the control group for the peak of memory at the end; without it that of the largest process is reported.
    pub measure: bool,
    /// The container outlives its caller once its command runs: the death of neither box nor the thread that started it ends it.
    /// Until then a start whose caller dies is given up, as always. See [`Running::release`](crate::Running::release).
    #[serde(skip)]
    pub outlives_caller: bool,
    /// The pids limit of the spec is a default: where it cannot be set it is dropped with a warning.
    pub pids_by_default: bool,
}
