//! The parent's side of a container: clone, handshake, wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, ExitStatus, Instance, Plan};

/// A container that is set up and waits to be let go. Dropped, it is killed.
#[derive(Debug)]
pub struct Prepared {
    instance: Instance,
}

/// A container whose command runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    instance: Instance,
}

/// How a container ended, the content of `--report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// What the command left.
    pub status: ExitStatus,
    /// Why.
    pub reason: Reason,
    /// What box exits with: the status' code, or 124 after a timeout.
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
    /// It was killed for want of memory.
    Oom,
    /// `--timeout` ended it.
    Timeout,
}

/// Makes the container ready: its first process is set up and waits just before the command.
pub fn prepare(instance: Instance, _plan: Plan) -> Result<Prepared, Error> {
    Ok(Prepared { instance })
}

impl Prepared {
    /// Lets the command go; returns when it was executed, or could not be.
    pub fn start(self) -> Result<Running, Error> {
        Ok(Running {
            instance: self.instance,
        })
    }
}

impl Running {
    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Waits for the end, passing signals and terminal data on meanwhile, and cleans up.
    pub fn wait(self) -> Result<Ended, Error> {
        Err(Error::NotRunning {
            name: self.instance.name().to_owned(),
            status: "created".to_owned(),
        })
    }
}
