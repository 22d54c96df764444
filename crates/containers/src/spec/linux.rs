//! The `linux` section of a spec: namespaces, id mappings, resources, masked paths.

use oci_spec::runtime::{
    Linux, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, LinuxPersonality,
    LinuxPersonalityDomain, LinuxPidsBuilder,
};

use super::masked::{MASKED, READ_ONLY};
use super::overrides::{Network, Overrides, Seccomp, Sharing, UserNamespace};
use crate::Error;

/// The default limit of processes and threads, which stops a fork bomb.
const PIDS: i64 = 4096;

pub(super) fn linux(asked: &Overrides) -> Result<Linux, Error> {
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(asked)));
    if let UserNamespace::Range { first, size } = asked.userns {
        let fields = LinuxIdMappingBuilder::default()
            .container_id(0u32)
            .host_id(first)
            .size(size);
        let map = fields.build().expect("every field has a default");
        linux.set_uid_mappings(Some(vec![map]));
        linux.set_gid_mappings(Some(vec![map]));
    }
    let mut resources = asked.resources.clone().unwrap_or_default();
    resources.set_devices((!asked.device_rules.is_empty()).then(|| asked.device_rules.clone()));
    if resources.pids().is_none() {
        resources.set_pids(Some(
            LinuxPidsBuilder::default()
                .limit(PIDS)
                .build()
                .expect("every field has a default"),
        ));
    }
    linux.set_resources(Some(resources));
    if let Seccomp::Profile(profile) = &asked.seccomp {
        linux.set_seccomp(Some((**profile).clone()));
    }
    linux.set_cgroups_path(None);
    linux
        .set_sysctl((!asked.sysctl.is_empty()).then(|| asked.sysctl.clone().into_iter().collect()));
    linux.set_devices((!asked.devices.is_empty()).then(|| asked.devices.clone()));
    let list = |paths: &[&str]| {
        paths
            .iter()
            .map(|&path| path.to_owned())
            .collect::<Vec<_>>()
    };
    let masked = || [list(&MASKED), asked.masked.clone()].concat();
    linux.set_masked_paths((!asked.unmask).then(masked));
    linux.set_readonly_paths((!asked.unmask).then(|| list(&READ_ONLY)));
    if asked.linux32 {
        let mut personality = LinuxPersonality::default();
        personality.set_domain(LinuxPersonalityDomain::PerLinux32);
        linux.set_personality(Some(personality));
    }
    Ok(linux)
}

fn namespaces(asked: &Overrides) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network as Net, Pid, Time, User, Uts};
    let own = |sharing: Sharing| sharing == Sharing::Private;
    let kinds = [
        (User, asked.userns != UserNamespace::Host),
        (Mount, true),
        (Pid, own(asked.pid)),
        (Uts, own(asked.uts)),
        (Ipc, own(asked.ipc)),
        (Cgroup, own(asked.cgroupns)),
        (Net, asked.net == Network::None),
        (Time, asked.time),
    ];
    let one = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    };
    kinds
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(kind, _)| one(kind))
        .collect()
}
