//! Mounts that a container in a user namespace may not make itself.

use oci_spec::runtime::Mount;

use crate::namespaces::Namespaces;

/// Only the owner of a namespace may mount a file system that shows it. Where the container shares the host's namespace, it gets
/// the host's mount instead.
pub(super) fn without_ownership(mounts: &[Mount], namespaces: &Namespaces) -> Vec<Mount> {
    let borrowed = |mount: &Mount| match mount.typ().as_deref() {
        Some("sysfs") => !namespaces.owns(libc::CLONE_NEWNET),
        Some("mqueue") => !namespaces.owns(libc::CLONE_NEWIPC),
        _ => false,
    };
    let one = |mount: &Mount| {
        let mut mount = mount.clone();
        if borrowed(&mount) {
            mount.set_source(Some(mount.destination().clone()));
            mount.set_typ(Some("bind".to_owned()));
            let options = mount.options().as_deref().unwrap_or(&[]);
            let all = options.iter().map(|option| {
                if option == "ro" {
                    "rro"
                } else {
                    option.as_str()
                }
            });
            let all = ["rbind"]
                .into_iter()
                .chain(all)
                .map(str::to_owned)
                .collect();
            mount.set_options(Some(all));
        }
        mount
    };
    mounts.iter().map(one).collect()
}
