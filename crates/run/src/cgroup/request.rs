//! A control group that is about to be made.

use oci_spec::runtime::LinuxResources;

use super::place::Place;

/// What a container's group shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Where. Its last component must be unique on the machine.
    pub place: &'a Place,
    /// `linux.resources`. The nodes every container has are allowed in addition to its device rules, all others denied.
    pub resources: &'a LinuxResources,
    /// The pids limit is box's default: where it cannot be set it is dropped with a warning.
    pub pids_by_default: bool,
    /// Access to devices must be confined or the start fails, as the container can make device nodes of any number.
    pub confine_devices: bool,
    /// Count the CPU time of all its processes, those that end unseen included. On v1 that takes one group more.
    pub count_cpu: bool,
}
