//! Options of a start that a runtime spec has no field for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Options of a start that a runtime spec has no field for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Run the command below a PID 1 that reaps orphans and forwards signals.
    pub init: bool,
    /// Change the root with chroot(2) instead of pivot_root(2), for hosts whose root is the initramfs.
    pub no_pivot: bool,
    /// Number of the caller's descriptors, from 3 on, that the command inherits.
    pub preserve_fds: u32,
    /// Time limit: the command gets SIGTERM then, and the exit status is 124.
    pub timeout: Option<Duration>,
    /// Delay between the SIGTERM of `timeout` and SIGKILL; 10 seconds if `None`.
    pub kill_after: Option<Duration>,
    /// Read the peak memory from the control group at the end; otherwise the peak of the largest process is reported.
    pub measure: bool,
    /// The container outlives its caller once its command runs: the death of neither box nor the thread that started it ends it.
    /// Until then a start whose caller dies is given up, as always. See [`Running::release`](crate::Running::release).
    #[serde(skip)]
    pub outlives_caller: bool,
    /// The pids limit of the spec is a default: where it cannot be set, it is dropped with a warning.
    pub pids_by_default: bool,
}
