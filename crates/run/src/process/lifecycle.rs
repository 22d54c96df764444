//! What the caller of a start does at points of the container's life.

use std::path::Path;

use super::Ended;
use crate::error::BoxError;

/// Callbacks during a container's life, each in the process that started it. A value of this type is held for as long as the
/// container's processes are there, and dropped after them: a lock in it says that the container lives.
///
/// `()` is the lifecycle of a container that nobody keeps book of.
pub trait Lifecycle {
    /// The container's control group is about to be made: what there is to note, so that it can be found if box is killed now.
    /// `cgroup` is as `linux.cgroupsPath` of the spec says it.
    fn before_cgroup(&mut self, _cgroup: &Path) -> Result<(), BoxError> {
        Ok(())
    }

    /// The first process was made and is in its group; it sets itself up meanwhile.
    fn created(&mut self, _pid: i32, _cgroup: &Path) -> Result<(), BoxError> {
        Ok(())
    }

    /// The command runs as soon as the first process is ready, and the caller has nothing to do until then: until `time` says that it
    /// is over.
    fn while_idle(&self, _time: &dyn Fn() -> bool) {}

    /// Whether anybody reads what the container used, which costs some time at its end.
    fn wants_usage(&self) -> bool {
        true
    }

    /// All processes of the container have ended and its control group is gone.
    fn ended(&mut self, _ended: &Ended) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Lifecycle for () {}
