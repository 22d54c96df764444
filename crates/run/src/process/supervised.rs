//! A process that is waited for.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::signals::Forwarding;

/// The process that is waited for: the first one of a container, or one that joined it.
#[derive(Clone, Copy)]
pub(super) struct Supervised<'a> {
    pub pid: i32,
    pub pidfd: BorrowedFd<'a>,
    pub signals: &'a Forwarding,
    /// `None` for a process that joined: its group is the container's.
    pub group: Option<&'a Cgroup>,
    /// When its time limit is over.
    pub deadline: Option<Instant>,
    pub kill_after: Option<Duration>,
}
