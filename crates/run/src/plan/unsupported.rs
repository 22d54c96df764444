//! Fields of a spec that this runtime does not implement.

use oci_spec::runtime::{Linux, Process};

use crate::Error;

/// Refuses fields that would otherwise be ignored: a limit or label in the spec is either enforced or an error.
pub(super) fn refuse(process: &Process, linux: &Linux) -> Result<(), Error> {
    let unsupported = [
        (
            "process.apparmorProfile",
            process
                .apparmor_profile()
                .as_ref()
                .is_some_and(|profile| !profile.is_empty()),
        ),
        (
            "process.selinuxLabel",
            process
                .selinux_label()
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
        ),
        ("process.scheduler", process.scheduler().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        (
            "linux.mountLabel",
            linux
                .mount_label()
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
        ),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        (
            "linux.netDevices",
            linux
                .net_devices()
                .as_ref()
                .is_some_and(|devices| !devices.is_empty()),
        ),
    ];
    match unsupported.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Error::spec(field, "it is not supported")),
        None => Ok(()),
    }
}
