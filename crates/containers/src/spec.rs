//! From an image's config and the flags to an OCI runtime spec. Pure.

pub mod etc;
pub mod masked;
pub mod overrides;

use std::collections::HashMap;

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    Linux, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, LinuxPersonality,
    LinuxPersonalityDomain, LinuxPidsBuilder, Mount, PosixRlimit, PosixRlimitBuilder, Process,
    Root, Spec, User,
};

use crate::Error;
use crate::accounts::Identity;
use crate::spec::masked::{MASKED, READ_ONLY};
use crate::spec::overrides::{Network, Overrides, Seccomp, Sharing, UserNamespace};
use box_run::capabilities::{Capabilities, Change, Set};
use box_run::rlimits;
use box_run::seccomp::DEFAULT_ANNOTATION;

/// How many processes and threads a container may have if nothing else is asked for: a fork bomb ends there.
const PIDS: i64 = 4096;

/// `/dev/shm` in bytes, as docker has it.
const SHM_SIZE: u64 = 64 << 20;

/// The annotation that says what the container is to be stopped with; so the image specification's conversion.md calls it.
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// The files of the bundle that are mounted over the image's own.
pub(crate) const ETC_FILES: [(&str, &str); 3] = [
    ("resolv.conf", "/etc/resolv.conf"),
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
];

/// Builds the spec of a container. Bind sources without a leading `/` are files of the bundle.
pub fn build(image: &ImageConfiguration, asked: &Overrides) -> Result<Spec, Error> {
    let identity = identity(image, asked)?;
    let mut spec = Spec::default();
    spec.set_version("1.1.0".to_owned());
    let mut root = Root::default();
    root.set_path("rootfs".into());
    root.set_readonly(Some(asked.read_only));
    spec.set_root(Some(root));
    spec.set_hostname((asked.uts == Sharing::Private).then(|| hostname(asked).to_owned()));
    spec.set_domainname(
        asked
            .domainname
            .clone()
            .filter(|_| asked.uts == Sharing::Private),
    );
    spec.set_mounts(Some(mounts(asked)));
    spec.set_process(Some(process(image, asked, &identity)?));
    spec.set_linux(Some(linux(asked)?));
    spec.set_hooks(asked.hooks.clone());
    let mut annotations: HashMap<_, _> = asked.annotations.clone().into_iter().collect();
    let from_image = image
        .config()
        .as_ref()
        .and_then(|config| config.stop_signal().as_ref());
    if let Some(signal) = asked.stop_signal.as_ref().or(from_image) {
        annotations.insert(STOP_SIGNAL.to_owned(), signal.clone());
    }
    if asked.seccomp == Seccomp::Default {
        annotations.insert(
            DEFAULT_ANNOTATION.0.to_owned(),
            DEFAULT_ANNOTATION.1.to_owned(),
        );
    }
    spec.set_annotations((!annotations.is_empty()).then_some(annotations));
    Ok(spec)
}

/// Whether a start makes the container's /dev, a tmpfs, before it mounts files of the bundle.
pub(crate) fn has_own_dev(spec: &Spec) -> bool {
    let mounts = spec.mounts().as_deref().unwrap_or(&[]);
    let is_dev = |mount: &Mount| mount.destination() == std::path::Path::new("/dev");
    let is_ours = |mount: &Mount| {
        let source = mount.source().as_ref();
        mount.typ().as_deref() == Some("bind") && source.is_some_and(|source| source.is_relative())
    };
    let first = mounts.iter().position(is_ours).unwrap_or(mounts.len());
    mounts
        .iter()
        .rposition(is_dev)
        .is_some_and(|at| at < first && mounts[at].typ().as_deref() == Some("tmpfs"))
}

/// The name that the container gets.
pub fn hostname(asked: &Overrides) -> &str {
    asked.hostname.as_deref().unwrap_or("container")
}

fn identity(image: &ImageConfiguration, asked: &Overrides) -> Result<Identity, Error> {
    let from_image = image
        .config()
        .as_ref()
        .and_then(|config| config.user().as_deref());
    let user = asked.user.as_deref().or(from_image).unwrap_or("");
    asked.accounts.resolve(user, &asked.groups)
}

fn process(
    image: &ImageConfiguration,
    asked: &Overrides,
    identity: &Identity,
) -> Result<Process, Error> {
    let mut user = User::default();
    user.set_uid(identity.uid);
    user.set_gid(identity.gid);
    user.set_umask(asked.umask);
    user.set_additional_gids((!identity.groups.is_empty()).then(|| identity.groups.clone()));
    let mut process = Process::default();
    process.set_terminal(Some(asked.terminal));
    process.set_user(user);
    process.set_args(Some(arguments(image, asked)?));
    process.set_env(Some(environment(image, asked, identity)));
    let image_cwd = image
        .config()
        .as_ref()
        .and_then(|config| config.working_dir().as_deref())
        .filter(|dir| !dir.is_empty());
    let cwd = asked
        .cwd
        .clone()
        .or(image_cwd.map(Into::into))
        .unwrap_or_else(|| "/".into());
    if !cwd.is_absolute() {
        return Err(Error::spec(
            "the working directory",
            format!("{} is not an absolute path", cwd.display()),
        ));
    }
    process.set_cwd(cwd);
    process.set_capabilities(Some(capabilities(asked, identity).to_oci()));
    process.set_no_new_privileges(Some(asked.no_new_privileges));
    process.set_oom_score_adj(asked.oom_score_adj);
    process.set_rlimits((!asked.rlimits.is_empty()).then(|| rlimits(&asked.rlimits)));
    Ok(process)
}

/// Entrypoint and command, as docker joins them.
fn arguments(image: &ImageConfiguration, asked: &Overrides) -> Result<Vec<String>, Error> {
    let config = image.config().as_ref();
    let cmd = || {
        config
            .and_then(|config| config.cmd().clone())
            .unwrap_or_default()
    };
    let (mut args, rest) = match &asked.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), asked.command.clone()),
        None => {
            let entrypoint = config
                .and_then(|config| config.entrypoint().clone())
                .unwrap_or_default();
            (
                entrypoint,
                if asked.command.is_empty() {
                    cmd()
                } else {
                    asked.command.clone()
                },
            )
        }
    };
    args.extend(rest);
    match args.first() {
        None => Err(Error::spec(
            "the command",
            "none is given, and the image has none",
        )),
        Some(first) if first.is_empty() => Err(Error::spec("the command", "it is an empty string")),
        Some(_) => Ok(args),
    }
}

/// The image's environment, then what the flags say; the last value of a name wins, in the place of the first.
fn environment(image: &ImageConfiguration, asked: &Overrides, identity: &Identity) -> Vec<String> {
    let mut out: Vec<(String, String)> =
        vec![("PATH".to_owned(), box_run::DEFAULT_PATH.to_owned())];
    let mut set = |key: &str, value: &str| match out.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => value.clone_into(old),
        None => out.push((key.to_owned(), value.to_owned())),
    };
    if let Some(term) = &asked.term {
        set("TERM", term);
    }
    set("PS1", r"[\u@\h \W]\$ ");
    set("HOME", &identity.home);
    let from_image = image
        .config()
        .as_ref()
        .and_then(|config| config.env().as_ref());
    for entry in from_image.into_iter().flatten() {
        if let Some((key, value)) = entry.split_once('=') {
            set(key, value);
        }
    }
    for (key, value) in &asked.env {
        set(key, value);
    }
    out.into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn capabilities(asked: &Overrides, identity: &Identity) -> Capabilities {
    let held = asked.held.unwrap_or(Set::ALL);
    let set =
        Set::default_on(asked.net == Network::Host).changed(&asked.cap_add, &asked.cap_drop, held);
    if identity.uid == 0 {
        return Capabilities::for_root(set);
    }
    let added = Set::EMPTY.changed(&asked.cap_add, &[] as &[Change], held);
    Capabilities::for_user(set, added)
}

fn rlimits(limits: &[rlimits::Rlimit]) -> Vec<PosixRlimit> {
    let one = |limit: &rlimits::Rlimit| {
        let fields = PosixRlimitBuilder::default()
            .typ(limit.kind)
            .soft(limit.soft)
            .hard(limit.hard);
        fields.build().expect("every field has a default")
    };
    limits.iter().map(one).collect()
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

/// The mounts of a container: those that each has, and what is asked for.
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
    // Without the group in the map, devpts refuses it.
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
    // What the user mounts takes the place of ours.
    mounts.retain(|mount| {
        !asked
            .volumes
            .iter()
            .any(|volume| volume.destination() == mount.destination())
    });
    mounts.extend(asked.volumes.iter().map(crate::volumes::Volume::to_mount));
    mounts
}

fn linux(asked: &Overrides) -> Result<Linux, Error> {
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
