//! How a container ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ExitStatus;

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit status or signal of the command.
    pub status: ExitStatus,
    /// Why.
    pub reason: Reason,
    /// The exit status that box reports: the command's, or 124 after a timeout.
    pub code: u8,
    /// From the start of the command to its end.
    pub wall: Duration,
    /// User and system time of all its processes.
    pub cpu: Duration,
    /// The most memory it used at one time, in bytes.
    pub peak_memory: Option<u64>,
    /// Seconds since the epoch.
    pub finished: u64,
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The command called exit.
    Exited,
    /// A signal ended it.
    Signaled,
    /// The OOM killer ended it.
    Oom,
    /// Its time limit ended it.
    Timeout,
}
