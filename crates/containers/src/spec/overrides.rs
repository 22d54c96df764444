//! The values of `box run`'s flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{Hooks, LinuxDevice, LinuxDeviceCgroup, LinuxResources, LinuxSeccomp};

use crate::accounts::Accounts;
use crate::volumes::Volume;
use box_run::rlimits::Rlimit;

/// Settings that add to or override the image's config. `Default` is a plain `box run IMAGE`.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--entrypoint`: replaces the image's Entrypoint and Cmd, as in docker.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments after IMAGE; if empty, the image's Cmd.
    pub command: Vec<String>,
    /// `-e` and `--env-file` in order, with all values resolved; a later value wins.
    pub env: Vec<(String, String)>,
    /// `TERM` of the container; not set if `None`.
    pub term: Option<String>,
    /// `-w`: absolute.
    pub cwd: Option<PathBuf>,
    /// `-u USER[:GROUP]`, by name or number.
    pub user: Option<String>,
    /// `--group-add`, by name or number.
    pub groups: Vec<String>,
    /// The image's passwd and group texts, for names, HOME and supplementary groups; see [`Accounts::of_layers`].
    pub accounts: Accounts,
    /// `--hostname`; `container` if `None`.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// Paths of this host to hide, in addition to those of every host; see [`crate::spec::masked`].
    pub masked: Vec<String>,
    /// `-t`: the command gets a terminal.
    pub terminal: bool,
    /// `--read-only`.
    pub read_only: bool,
    /// `--net`.
    pub net: Network,
    /// `--pid`.
    pub pid: Sharing,
    /// `--ipc`.
    pub ipc: Sharing,
    /// `--uts`.
    pub uts: Sharing,
    /// `--cgroupns`.
    pub cgroupns: Sharing,
    /// `--userns`.
    pub userns: UserNamespace,
    /// `--time`: the container gets a time namespace.
    pub time: bool,
    /// `-v`, `--mount` and `--tmpfs` in order.
    pub volumes: Vec<Volume>,
    /// `--shm-size` in bytes; 64 MiB if `None`.
    pub shm_size: Option<u64>,
    /// `--cap-add`.
    pub cap_add: Vec<box_run::capabilities::Change>,
    /// `--cap-drop`; applied before `cap_add`, so that `--cap-drop ALL --cap-add CHOWN` leaves only CHOWN.
    pub cap_drop: Vec<box_run::capabilities::Change>,
    /// `--no-new-privileges`.
    pub no_new_privileges: bool,
    /// What `ALL` stands for in `cap_add`, see [`held`](box_run::capabilities::Set::held); every capability if `None`.
    pub held: Option<box_run::capabilities::Set>,
    /// `--seccomp`.
    pub seccomp: Seccomp,
    /// `--ulimit`.
    pub rlimits: Vec<Rlimit>,
    /// `--oom-score-adj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `--sysctl`.
    pub sysctl: BTreeMap<String, String>,
    /// `--device`: nodes to create below /dev, in addition to the default ones.
    pub devices: Vec<LinuxDevice>,
    /// `--device`, `--device-cgroup-rule`: devices that the control group allows, in addition to the default ones.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// `--umask`.
    pub umask: Option<u32>,
    /// `--personality linux32`.
    pub linux32: bool,
    /// `--security-opt unmask=ALL`: neither masked nor read-only paths.
    pub unmask: bool,
    /// Limits: memory, cpu, pids, block I/O. The device rules are taken from `device_rules`.
    pub resources: Option<LinuxResources>,
    /// OCI hooks to put into the bundle.
    pub hooks: Option<Hooks>,
    /// `--stop-signal`, by name or number; that of the image if `None`.
    pub stop_signal: Option<String>,
    /// `--annotation`, and the image's labels if the caller keeps them.
    pub annotations: BTreeMap<String, String>,
}

/// `--net`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's network.
    #[default]
    Host,
    /// A network namespace with a loopback device only.
    None,
}

/// Whether the container has a namespace of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// A new namespace.
    #[default]
    Private,
    /// The namespace of the host.
    Host,
}

/// `--userns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNamespace {
    /// No user namespace: root in the container is root on the host.
    #[default]
    Host,
    /// Ids 0 to `size - 1` of the container are mapped to the host's, starting at `first`.
    Range {
        /// The host id of the container's root.
        first: u32,
        /// Number of ids.
        size: u32,
    },
}

/// `--seccomp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seccomp {
    /// The default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in the form of the runtime spec.
    Profile(Box<LinuxSeccomp>),
}
