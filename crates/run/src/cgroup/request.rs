//! The request for a new control group.

use oci_spec::runtime::LinuxResources;

use super::place::Place;

/// The properties of a container's new group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Where to make it. The last component must be unique on the machine.
    pub place: &'a Place,
    /// `linux.resources` of the spec. The nodes that every container has are allowed in addition to its device rules, all others
    /// are denied.
    pub resources: &'a LinuxResources,
    /// The pids limit is a default: where it cannot be set, it is dropped with a warning.
    pub pids_by_default: bool,
    /// Access to devices must be confined, as the container can make device nodes of any number. Otherwise the start fails.
    pub confine_devices: bool,
    /// Count the CPU time of all its processes, including those that nobody waits for. On v1 that takes one more group.
    pub count_cpu: bool,
}
