//! The mounts of a container.

use oci_spec::runtime::Mount;

use super::overrides::{Overrides, UserNamespace};

/// The default size of `/dev/shm` in bytes, as in docker.
const SHM_SIZE: u64 = 64 << 20;

/// The files of the bundle that are mounted over those of the image.
pub(crate) const ETC_FILES: [(&str, &str); 3] = [
    ("resolv.conf", "/etc/resolv.conf"),
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
];

/// The mounts of a container: the default ones and the requested ones.
pub fn mounts(asked: &Overrides) -> Vec<Mount> {
    let shm = format!(
        "size={}k",
        asked.shm_size.unwrap_or(SHM_SIZE).div_ceil(1024)
    );
    let pts = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    ];
    // devpts refuses a group that is not mapped.
    let pts = if matches!(asked.userns, UserNamespace::Range { size, .. } if size <= 5) {
        &pts[..5]
    } else {
        &pts[..]
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", pts),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ];
    let asked_for = |path: &str| {
        asked
            .volumes
            .iter()
            .any(|volume| volume.destination() == std::path::Path::new(path))
    };
    for (file, destination) in ETC_FILES {
        if !asked_for(destination) {
            mounts.push(mount(
                destination,
                "bind",
                file,
                &["bind", "nosuid", "nodev", "noexec"],
            ));
        }
    }
    // Requested mounts replace the default ones.
    mounts.retain(|mount| {
        !asked
            .volumes
            .iter()
            .any(|volume| volume.destination() == mount.destination())
    });
    mounts.extend(asked.volumes.iter().map(crate::volumes::Volume::to_mount));
    mounts
}

fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(destination.into());
    mount.set_typ(Some(typ.to_owned()));
    mount.set_source(Some(source.into()));
    mount.set_options(Some(
        options.iter().map(|&option| option.to_owned()).collect(),
    ));
    mount
}
