//! The options that describe a container, and the overrides of its spec that they stand for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use box_containers::overrides::{Network, Seccomp, UserNamespace};
use box_containers::{Containers, Overrides, volumes::Volume};
use box_run::capabilities::{self, Change, Set};
use box_run::rlimits::Rlimit;

use crate::options::flag::{Flag, Slot};
use crate::options::limits::LimitArgs;
use crate::options::{self, ids, namespaces};
use crate::report::Failure;

/// Settings of a container beyond those of its image.
#[derive(Debug, Default, clap::Args)]
pub struct ContainerArgs {
    /// Keep stdin open (always the case; accepted for compatibility)
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a terminal for the command [default: if stdin and stdout are terminals]
    #[arg(short, long)]
    pub tty: bool,
    /// Run this instead of the image's entrypoint; empty for none
    #[arg(long, value_name = "CMD")]
    entrypoint: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Run as this user; names are looked up in the container's passwd and group files
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Add the user to this group, by name or number
    #[arg(long = "group-add", value_name = "GROUP")]
    groups: Vec<String>,
    /// Host name of the container [default: container]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name of the container
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Signal that box stop sends, by name or number [default: the stop signal of the image, or TERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// Set an environment variable; K alone passes the caller's value
    #[arg(
        short,
        long = "env",
        value_name = "K[=V]",
        help_heading = "Environment"
    )]
    env: Vec<String>,
    /// Read environment variables from a file, one K=V or K per line
    #[arg(long = "env-file", value_name = "FILE", help_heading = "Environment")]
    env_files: Vec<PathBuf>,

    /// Mount a file or directory of the host in the container; :ro makes it and everything mounted below it read-only
    #[arg(
        short,
        long = "volume",
        value_name = "SRC:DST[:ro]",
        help_heading = "Files"
    )]
    volumes: Vec<String>,
    /// Add a mount: type=bind|tmpfs,source=SRC,target=DST[,readonly]
    #[arg(long = "mount", value_name = "SPEC", help_heading = "Files")]
    // The help's brackets mark what is optional, and no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    mounts: Vec<String>,
    /// Mount a tmpfs
    #[arg(long, value_name = "DST[:size=64m]", help_heading = "Files")]
    tmpfs: Vec<String>,
    /// Mount the root filesystem read-only
    #[arg(long, help_heading = "Files")]
    read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", help_heading = "Files")]
    shm_size: Option<String>,
    /// Add a device of the host to the container
    #[arg(
        long = "device",
        value_name = "SRC[:DST[:rwm]]",
        help_heading = "Files"
    )]
    devices: Vec<String>,

    /// Network namespace: the host's, or one with only loopback [default: host]
    #[arg(
        long = "net",
        visible_alias = "network",
        value_name = "host|none",
        help_heading = "Isolation"
    )]
    net: Option<String>,
    /// PID namespace: private, or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    pid: Option<String>,
    /// IPC namespace, for System V IPC and message queues: private, or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    ipc: Option<String>,
    /// UTS namespace, for the host name: private, or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    uts: Option<String>,
    /// Cgroup namespace: private, or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    cgroupns: Option<String>,
    /// User namespace: the host's, or a range of the host's ids, such as 100000:65536, that the container's ids are mapped to; auto
    /// finds an unused range [default: host]
    #[arg(
        long,
        value_name = "host|auto|FIRST[:SIZE]",
        help_heading = "Isolation"
    )]
    userns: Option<String>,
    /// Create a time namespace, for the time since boot
    #[arg(long, help_heading = "Isolation")]
    time: bool,

    /// Add a capability, or ALL
    #[arg(
        long,
        value_name = "CAP",
        value_delimiter = ',',
        help_heading = "Security"
    )]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(
        long,
        value_name = "CAP",
        value_delimiter = ',',
        help_heading = "Security"
    )]
    cap_drop: Vec<String>,
    /// Prevent programs from gaining privileges, for example by setuid
    #[arg(long, help_heading = "Security")]
    no_new_privileges: bool,
    /// Allowed system calls: all (unconfined), or a profile in docker's JSON [default: a list like docker's]
    #[arg(long, value_name = "unconfined|FILE", help_heading = "Security")]
    seccomp: Option<String>,
    /// Security options in docker's syntax: seccomp=..., no-new-privileges, unmask=ALL
    #[arg(long = "security-opt", value_name = "OPT", help_heading = "Security")]
    security: Vec<String>,

    #[command(flatten)]
    limits: LimitArgs,
    /// Parent of the container's cgroup: a path, or a slice to request from systemd (NAME.slice)
    #[arg(long, value_name = "PARENT", help_heading = "Limits")]
    cgroup_parent: Option<String>,
    /// Resource limit of processes, such as nofile=1024:4096
    #[arg(
        long = "ulimit",
        value_name = "NAME=SOFT[:HARD]",
        help_heading = "Limits"
    )]
    ulimits: Vec<String>,
    /// OOM score adjustment: preference for being killed when memory runs out, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000), help_heading = "Limits")]
    oom_score_adj: Option<i32>,
    /// Set a kernel parameter in the container's namespaces
    #[arg(long = "sysctl", value_name = "K=V", help_heading = "Limits")]
    sysctls: Vec<String>,
    /// File mode creation mask, in octal
    #[arg(long, value_name = "MASK", help_heading = "Limits")]
    umask: Option<String>,
    /// Execution domain, which uname reports: linux or linux32
    #[arg(long, value_name = "linux|linux32", help_heading = "Limits")]
    personality: Option<String>,
    /// Add an annotation to the runtime spec
    #[arg(long = "annotation", value_name = "K=V", help_heading = "Limits")]
    annotations: Vec<String>,
}

impl ContainerArgs {
    /// The flags that are read without clap: all except rare ones and those whose values clap checks.
    const FLAGS: &[Flag<ContainerArgs>] = &[
        Flag {
            names: &["-i", "--interactive"],
            slot: |args| Slot::Switch(&mut args.interactive),
        },
        Flag {
            names: &["-t", "--tty"],
            slot: |args| Slot::Switch(&mut args.tty),
        },
        Flag {
            names: &["--entrypoint"],
            slot: |args| Slot::Text(&mut args.entrypoint),
        },
        Flag {
            names: &["-w", "--workdir"],
            slot: |args| Slot::Path(&mut args.workdir),
        },
        Flag {
            names: &["-u", "--user"],
            slot: |args| Slot::Text(&mut args.user),
        },
        Flag {
            names: &["--hostname"],
            slot: |args| Slot::Text(&mut args.hostname),
        },
        Flag {
            names: &["-e", "--env"],
            slot: |args| Slot::Texts(&mut args.env),
        },
        Flag {
            names: &["-v", "--volume"],
            slot: |args| Slot::Texts(&mut args.volumes),
        },
        Flag {
            names: &["--mount"],
            slot: |args| Slot::Texts(&mut args.mounts),
        },
        Flag {
            names: &["--tmpfs"],
            slot: |args| Slot::Texts(&mut args.tmpfs),
        },
        Flag {
            names: &["--read-only"],
            slot: |args| Slot::Switch(&mut args.read_only),
        },
        Flag {
            names: &["--net", "--network"],
            slot: |args| Slot::Text(&mut args.net),
        },
        Flag {
            names: &["--pid"],
            slot: |args| Slot::Text(&mut args.pid),
        },
        Flag {
            names: &["--ipc"],
            slot: |args| Slot::Text(&mut args.ipc),
        },
        Flag {
            names: &["--userns"],
            slot: |args| Slot::Text(&mut args.userns),
        },
        Flag {
            names: &["--cap-add"],
            slot: |args| Slot::List(&mut args.cap_add),
        },
        Flag {
            names: &["--cap-drop"],
            slot: |args| Slot::List(&mut args.cap_drop),
        },
        Flag {
            names: &["--no-new-privileges"],
            slot: |args| Slot::Switch(&mut args.no_new_privileges),
        },
        Flag {
            names: &["--seccomp"],
            slot: |args| Slot::Text(&mut args.seccomp),
        },
        Flag {
            names: &["--security-opt"],
            slot: |args| Slot::Texts(&mut args.security),
        },
        Flag {
            names: &["--ulimit"],
            slot: |args| Slot::Texts(&mut args.ulimits),
        },
    ];

    /// The place for the value of a flag; `None` for a flag that is left to clap.
    pub fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        match Flag::named(Self::FLAGS, name) {
            Some(flag) => Some((flag.slot)(self)),
            None => self.limits.slot(name),
        }
    }

    /// The names of all flags that are read without clap.
    #[cfg(test)]
    pub fn flag_names() -> Vec<&'static str> {
        [Flag::all_names(Self::FLAGS), LimitArgs::flag_names()].concat()
    }

    /// `--cgroup-parent`, which is not part of the spec.
    pub fn cgroup_parent(&self) -> Result<Option<String>, Failure> {
        match self.cgroup_parent.as_deref() {
            Some(parent) if parent.is_empty() || parent.split('/').any(|part| part == "..") => {
                let expected =
                    "expected a path such as /containers, or a slice such as system.slice";
                Err(options::refused("--cgroup-parent", parent, expected))
            }
            parent => Ok(parent.map(str::to_owned)),
        }
    }

    /// Checks all options and turns them into overrides. The caller adds the command, the terminal and the accounts of the image.
    pub fn overrides(&self, base: &Path, containers: &Containers) -> Result<Overrides, Failure> {
        let mut overrides = Overrides {
            entrypoint: self.entrypoint.as_ref().map(|text| match text.as_str() {
                "" => Vec::new(),
                command => vec![command.to_owned()],
            }),
            env: options::environment::read(&self.env_files, &self.env, &|name| {
                std::env::var_os(name)
            })?,
            term: std::env::var("TERM").ok().filter(|term| !term.is_empty()),
            cwd: self
                .workdir
                .as_deref()
                .map(options::absolute_inside)
                .transpose()?,
            user: self.user.clone(),
            groups: self.groups.clone(),
            hostname: self
                .hostname
                .as_deref()
                .map(options::hostname)
                .transpose()?,
            stop_signal: self
                .stop_signal
                .as_deref()
                .map(|text| options::signal::read("--stop-signal", text))
                .transpose()?
                .map(|signal| signal.to_string()),
            read_only: self.read_only,
            net: namespaces::network(self.net.as_deref())?,
            pid: namespaces::sharing("--pid", self.pid.as_deref())?,
            ipc: namespaces::sharing("--ipc", self.ipc.as_deref())?,
            uts: namespaces::sharing("--uts", self.uts.as_deref())?,
            cgroupns: namespaces::sharing("--cgroupns", self.cgroupns.as_deref())?,
            userns: match self.userns.as_deref() {
                None | Some("host") => UserNamespace::Host,
                Some("auto") => ids::unused(containers)?,
                Some(range) => namespaces::user(range)?,
            },
            time: self.time,
            volumes: self.volumes(base)?,
            shm_size: self
                .shm_size
                .as_deref()
                .map(|text| options::bytes("--shm-size", text))
                .transpose()?,
            cap_add: changes(&self.cap_add)?,
            cap_drop: changes(&self.cap_drop)?,
            no_new_privileges: self.no_new_privileges,
            oom_score_adj: self.oom_score_adj,
            sysctl: sysctls(&self.sysctls)?,
            domainname: self
                .domainname
                .as_deref()
                .map(options::domainname)
                .transpose()?,
            masked: box_containers::spec::masked::throttle_counters(),
            rlimits: self.rlimits()?,
            umask: self.umask.as_deref().map(options::umask).transpose()?,
            linux32: is_linux32(self.personality.as_deref())?,
            resources: self.limits.resources()?,
            annotations: pairs("--annotation", &self.annotations)?,
            ..Overrides::default()
        };
        for device in &self.devices {
            let (node, rule) = options::device::read(device)?;
            overrides.devices.push(node);
            overrides.device_rules.push(rule);
        }
        // Inside a user namespace, root has all of them.
        if overrides.cap_add.contains(&Change::All) && overrides.userns == UserNamespace::Host {
            let held = Set::held()?;
            tracing::debug!(lacking = ?Set::ALL.difference(held), "ALL is every capability that box has");
            overrides.held = Some(held);
        }
        self.secure(&mut overrides)?;
        Ok(overrides)
    }

    /// The resource limits. The last one of each kind wins.
    fn rlimits(&self) -> Result<Vec<Rlimit>, Failure> {
        let mut limits: Vec<Rlimit> = vec![];
        for limit in &self.ulimits {
            let limit: Rlimit = limit.parse().map_err(Failure::from)?;
            limits.retain(|known| known.kind != limit.kind);
            limits.push(limit);
        }
        Ok(limits)
    }

    /// The volumes of all three flags, outer ones first, so that `-v a:/x/y --tmpfs /x` hides nothing.
    fn volumes(&self, base: &Path) -> Result<Vec<Volume>, Failure> {
        let mut volumes = Vec::new();
        for text in &self.volumes {
            volumes.push(Volume::bind(text, base)?);
        }
        for text in &self.mounts {
            volumes.push(Volume::mount(text, base)?);
        }
        for text in &self.tmpfs {
            volumes.push(Volume::tmpfs(text)?);
        }
        Volume::check_places(&volumes)?;
        volumes.sort_by_key(|volume| volume.destination().components().count());
        Ok(volumes)
    }

    fn secure(&self, overrides: &mut Overrides) -> Result<(), Failure> {
        let mut seccomp = self.seccomp.clone();
        for option in &self.security {
            // Docker also accepts a colon instead of the equals sign.
            match option.split_once(['=', ':']).unwrap_or((option, "true")) {
                ("no-new-privileges", "true") => overrides.no_new_privileges = true,
                ("no-new-privileges", "false") => overrides.no_new_privileges = false,
                ("seccomp", profile) => seccomp = Some(profile.to_owned()),
                ("unmask", "ALL" | "all") | ("systempaths", "unconfined") => {
                    overrides.unmask = true
                }
                _ => {
                    let known = "expected seccomp=FILE|unconfined, no-new-privileges or unmask=ALL";
                    return Err(options::refused("--security-opt", option, known));
                }
            }
        }
        overrides.seccomp = match seccomp.as_deref() {
            None | Some("default") => Seccomp::Default,
            Some("unconfined") => Seccomp::Unconfined,
            Some(file) => {
                let held = overrides.held.unwrap_or(Set::ALL);
                let set = Set::default_on(overrides.net == Network::Host);
                let set = set.changed(&overrides.cap_add, &overrides.cap_drop, held);
                Seccomp::Profile(Box::new(options::seccomp_profile(Path::new(file), set)?))
            }
        };
        Ok(())
    }
}

fn is_linux32(personality: Option<&str>) -> Result<bool, Failure> {
    match personality {
        None | Some("linux") => Ok(false),
        Some("linux32") => Ok(true),
        Some(other) => {
            let expected = "expected linux or linux32";
            Err(options::refused("--personality", other, expected))
        }
    }
}

fn changes(names: &[String]) -> Result<Vec<capabilities::Change>, Failure> {
    names
        .iter()
        .map(|name| name.parse().map_err(Failure::from))
        .collect()
}

/// The kernel parameters. Those that box sets itself are refused, since its own values would win.
fn sysctls(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = pairs("--sysctl", texts)?;
    for (key, value) in &pairs {
        if let Some(flag @ ("hostname" | "domainname")) =
            key.replace('/', ".").strip_prefix("kernel.")
        {
            let text = format!("{key}={value}");
            return Err(options::refused(
                "--sysctl",
                &text,
                &format!("use --{flag}"),
            ));
        }
    }
    Ok(pairs)
}

fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(options::refused(flag, text, "expected K=V")),
        })
        .collect()
}
