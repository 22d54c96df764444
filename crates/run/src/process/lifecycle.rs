//! Callbacks of the caller during a container's life.

use std::path::Path;

use super::Ended;
use crate::error::BoxError;

/// Callbacks during a container's life, each called in the process that started it. The value is dropped after the container's
/// processes have ended, so a lock in it states that the container lives.
///
/// `()` does nothing.
pub trait Lifecycle {
    /// The container's control group is about to be made. The caller saves its path, so that the group can be found even if box is
    /// killed now. `cgroup` has the form of `linux.cgroupsPath` in the spec.
    fn before_cgroup(&mut self, _cgroup: &Path) -> Result<(), BoxError> {
        Ok(())
    }

    /// The first process exists and is in its group. Its set-up continues meanwhile.
    fn created(&mut self, _pid: i32, _cgroup: &Path) -> Result<(), BoxError> {
        Ok(())
    }

    /// Lets the caller use the time until the command runs: `time` returns false once the first process has ended.
    fn while_idle(&self, _time: &dyn Fn() -> bool) {}

    /// Whether to collect resource usage at the container's end, which costs some time.
    fn wants_usage(&self) -> bool {
        true
    }

    /// All processes of the container have ended and its control group is removed.
    fn ended(&mut self, _ended: &Ended) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Lifecycle for () {}
