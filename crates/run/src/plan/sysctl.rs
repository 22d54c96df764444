//! Kernel parameters of a spec.

use std::ffi::CString;

use oci_spec::runtime::{Linux, Spec};

use crate::Error;
use crate::error::c_string;
use crate::namespaces::Namespaces;

/// A kernel parameter of a namespace.
#[derive(Debug)]
pub(crate) struct Sysctl {
    /// Below /proc: `sys/net/ipv4/ip_forward`.
    pub path: CString,
    pub value: Vec<u8>,
}

/// Accepts only parameters of namespaces that the container does not share, as others would change the host. A parameter that the
/// spec also sets by a field of its own is refused, because the field would win.
pub(super) fn sysctls(
    spec: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
) -> Result<Vec<Sysctl>, Error> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.auto_msgmni",
    ];
    let Some(asked) = linux.sysctl() else {
        return Ok(vec![]);
    };
    let one = |(key, value): (&String, &String)| {
        // Both forms of sysctl(8) are accepted: names are separated by dots or by slashes, and with slashes a dot is part of a name
        // (net/ipv4/conf/eth0.1).
        let name = if key.contains('/') {
            key.replace('/', "\0").replace('.', "/").replace('\0', ".")
        } else {
            key.clone()
        };
        let owned = if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
            namespaces.owns(libc::CLONE_NEWIPC)
        } else if name.starts_with("net.") {
            namespaces.owns(libc::CLONE_NEWNET)
        } else if name == "kernel.domainname" || name == "kernel.hostname" {
            namespaces.owns(libc::CLONE_NEWUTS)
        } else {
            return Err(Error::spec(
                "linux.sysctl",
                format!("{key} does not belong to a namespace; set it on the host"),
            ));
        };
        let set = match name.as_str() {
            "kernel.hostname" => spec.hostname().is_some(),
            "kernel.domainname" => spec.domainname().is_some(),
            _ => false,
        };
        if set {
            return Err(Error::spec(
                "linux.sysctl",
                format!("{key} has no effect: the name is set by the spec's own field"),
            ));
        }
        if !owned {
            return Err(Error::spec(
                "linux.sysctl",
                format!("{key} would change the host: the container shares that namespace"),
            ));
        }
        let path = format!(
            "sys/{}",
            if key.contains('/') {
                key.clone()
            } else {
                key.replace('.', "/")
            }
        );
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::spec(
                "linux.sysctl",
                format!("{key} is not a valid name"),
            ));
        }
        Ok(Sysctl {
            path: c_string(path.as_bytes())?,
            value: value.as_bytes().to_vec(),
        })
    };
    let mut keys: Vec<_> = asked.iter().collect();
    keys.sort();
    keys.into_iter().map(one).collect()
}
