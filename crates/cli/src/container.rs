//! The options that describe a container, and what they mean to the engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use box_run::capabilities::{self, Change, Set};
use box_run::overrides::{Network, Seccomp, Sharing, UserNamespace};
use box_run::rlimits::Rlimit;
use box_run::{Instances, Overrides, volumes::Volume};

use crate::limits::LimitArgs;
use crate::options::{self, ids};
use crate::quick::Slot;
use crate::report::Failure;

/// What a container is given, beyond what its image says.
#[derive(Debug, Default, clap::Args)]
pub struct ContainerArgs {
    /// Keep stdin open (always so; accepted for those used to it)
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal; done by itself where stdin and stdout are terminals
    #[arg(short, long)]
    pub tty: bool,
    /// Run this in the place of the image's entrypoint; empty for none
    #[arg(long, value_name = "CMD")]
    entrypoint: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Run as this user, by name or number of the container's own passwd and group files
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Add the user to this group, by name or number
    #[arg(long = "group-add", value_name = "GROUP")]
    groups: Vec<String>,
    /// Name of the host as seen in the container [default: container]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name of the container
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// What box stop sends, by name or number [default: what the image says, else TERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// Set a variable, or hand on the caller's with K alone
    #[arg(
        short,
        long = "env",
        value_name = "K[=V]",
        help_heading = "Environment"
    )]
    env: Vec<String>,
    /// Read variables from a file, one K=V or K a line
    #[arg(long = "env-file", value_name = "FILE", help_heading = "Environment")]
    env_files: Vec<PathBuf>,

    /// Show a file or directory of the host in the container, read-only with all that is mounted below it where :ro is added
    #[arg(
        short,
        long = "volume",
        value_name = "SRC:DST[:ro]",
        help_heading = "Files"
    )]
    volumes: Vec<String>,
    /// Mount: type=bind|tmpfs,source=SRC,target=DST[,readonly]
    #[arg(long = "mount", value_name = "SPEC", help_heading = "Files")]
    // The help's brackets mark what is optional, and no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    mounts: Vec<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "DST[:size=64m]", help_heading = "Files")]
    tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long, help_heading = "Files")]
    read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", help_heading = "Files")]
    shm_size: Option<String>,
    /// Give the container a device of the host
    #[arg(
        long = "device",
        value_name = "SRC[:DST[:rwm]]",
        help_heading = "Files"
    )]
    devices: Vec<String>,

    /// Network: the host's, or none but loopback [default: host]
    #[arg(
        long = "net",
        visible_alias = "network",
        value_name = "host|none",
        help_heading = "Isolation"
    )]
    net: Option<String>,
    /// Process ids: the container's own or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    pid: Option<String>,
    /// System V IPC and message queues: the container's own or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    ipc: Option<String>,
    /// Host name: the container's own or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    uts: Option<String>,
    /// View of the cgroups: the container's own or the host's [default: private]
    #[arg(long, value_name = "private|host", help_heading = "Isolation")]
    cgroupns: Option<String>,
    /// User ids: the host's, or a range of it such as 100000:65536 that the container's are mapped to; auto finds one that is
    /// not in use [default: host]
    #[arg(
        long,
        value_name = "host|auto|FIRST[:SIZE]",
        help_heading = "Isolation"
    )]
    userns: Option<String>,
    /// Give the container clocks of its own for the time since boot
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
    /// Let no program gain privileges, setuid or not
    #[arg(long, help_heading = "Security")]
    no_new_privileges: bool,
    /// System calls allowed: the default list, all (unconfined), or a profile in docker's JSON
    #[arg(long, value_name = "unconfined|FILE", help_heading = "Security")]
    seccomp: Option<String>,
    /// Docker's spelling: seccomp=..., no-new-privileges, unmask=ALL
    #[arg(long = "security-opt", value_name = "OPT", help_heading = "Security")]
    security: Vec<String>,

    #[command(flatten)]
    limits: LimitArgs,
    /// Control group to make the container's in: a path, or a slice that systemd is asked for (NAME.slice)
    #[arg(long, value_name = "PARENT", help_heading = "Limits")]
    cgroup_parent: Option<String>,
    /// Limit of a process, such as nofile=1024:4096
    #[arg(
        long = "ulimit",
        value_name = "NAME=SOFT[:HARD]",
        help_heading = "Limits"
    )]
    ulimits: Vec<String>,
    /// How soon the kernel kills it when memory runs out, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000), help_heading = "Limits")]
    oom_score_adj: Option<i32>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long = "sysctl", value_name = "K=V", help_heading = "Limits")]
    sysctls: Vec<String>,
    /// File mode bits that new files do not get, in octal
    #[arg(long, value_name = "MASK", help_heading = "Limits")]
    umask: Option<String>,
    /// What uname says the machine is: linux, or linux32
    #[arg(long, value_name = "linux|linux32", help_heading = "Limits")]
    personality: Option<String>,
    /// Annotation of the runtime spec
    #[arg(long = "annotation", value_name = "K=V", help_heading = "Limits")]
    annotations: Vec<String>,
}

impl ContainerArgs {
    /// Where the value of a flag is kept; none for the rare ones and those whose values clap checks.
    pub fn slot(&mut self, flag: &str) -> Option<Slot<'_>> {
        Some(match flag {
            "-i" | "--interactive" => Slot::Switch(&mut self.interactive),
            "-t" | "--tty" => Slot::Switch(&mut self.tty),
            "--entrypoint" => Slot::Text(&mut self.entrypoint),
            "-w" | "--workdir" => Slot::Path(&mut self.workdir),
            "-u" | "--user" => Slot::Text(&mut self.user),
            "--hostname" => Slot::Text(&mut self.hostname),
            "-e" | "--env" => Slot::Texts(&mut self.env),
            "-v" | "--volume" => Slot::Texts(&mut self.volumes),
            "--mount" => Slot::Texts(&mut self.mounts),
            "--tmpfs" => Slot::Texts(&mut self.tmpfs),
            "--read-only" => Slot::Switch(&mut self.read_only),
            "--net" | "--network" => Slot::Text(&mut self.net),
            "--pid" => Slot::Text(&mut self.pid),
            "--ipc" => Slot::Text(&mut self.ipc),
            "--userns" => Slot::Text(&mut self.userns),
            "--cap-add" => Slot::List(&mut self.cap_add),
            "--cap-drop" => Slot::List(&mut self.cap_drop),
            "--no-new-privileges" => Slot::Switch(&mut self.no_new_privileges),
            "--seccomp" => Slot::Text(&mut self.seccomp),
            "--security-opt" => Slot::Texts(&mut self.security),
            "--ulimit" => Slot::Texts(&mut self.ulimits),
            _ => return self.limits.slot(flag),
        })
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

    /// Checks everything that was typed and says it in the engine's words. The command, the terminal and the accounts
    /// of the image are the caller's to fill in.
    pub fn overrides(&self, base: &Path, instances: &Instances) -> Result<Overrides, Failure> {
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
            net: network(self.net.as_deref())?,
            pid: sharing("--pid", self.pid.as_deref())?,
            ipc: sharing("--ipc", self.ipc.as_deref())?,
            uts: sharing("--uts", self.uts.as_deref())?,
            cgroupns: sharing("--cgroupns", self.cgroupns.as_deref())?,
            userns: match self.userns.as_deref() {
                None | Some("host") => UserNamespace::Host,
                Some("auto") => ids::unused(instances)?,
                Some(range) => user_namespace(range)?,
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
            masked: box_run::masked::throttle_counters(),
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
        // Root of a user namespace has all of them in there.
        if overrides.cap_add.contains(&Change::All) && overrides.userns == UserNamespace::Host {
            let held = Set::held()?;
            tracing::debug!(lacking = ?Set::ALL.difference(held), "ALL is every capability that box has");
            overrides.held = Some(held);
        }
        self.secure(&mut overrides)?;
        Ok(overrides)
    }

    /// Of each kind the last one is meant, as with any flag that is given twice.
    fn rlimits(&self) -> Result<Vec<Rlimit>, Failure> {
        let mut limits: Vec<Rlimit> = vec![];
        for limit in &self.ulimits {
            let limit: Rlimit = limit.parse().map_err(Failure::from)?;
            limits.retain(|known| known.kind != limit.kind);
            limits.push(limit);
        }
        Ok(limits)
    }

    /// Volumes of all three spellings, outer ones first, so that `-v a:/x/y --tmpfs /x` hides nothing.
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
            // Docker accepts a colon in the place of the equals sign, too.
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
                let set = Set::default_on(overrides.net);
                let set = set.changed(&overrides.cap_add, &overrides.cap_drop, held);
                Seccomp::Profile(Box::new(options::seccomp_profile(Path::new(file), set)?))
            }
        };
        Ok(())
    }
}

fn network(text: Option<&str>) -> Result<Network, Failure> {
    match text {
        None | Some("host") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(options::refused("--net", other, "expected host or none")),
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

fn sharing(flag: &str, text: Option<&str>) -> Result<Sharing, Failure> {
    match text {
        None | Some("private") => Ok(Sharing::Private),
        Some("host") => Ok(Sharing::Host),
        Some(other) => Err(options::refused(flag, other, "expected private or host")),
    }
}

/// `FIRST[:SIZE]`.
fn user_namespace(text: &str) -> Result<UserNamespace, Failure> {
    let expected = "expected host, auto, or the first host id and how many, such as 100000:65536";
    let bad = || options::refused("--userns", text, expected);
    let (first, size) = text.split_once(':').unwrap_or((text, "65536"));
    let first: u32 = first.parse().map_err(|_| bad())?;
    let size: u32 = size.parse().map_err(|_| bad())?;
    if first == 0 || size == 0 || first.checked_add(size).is_none() {
        return Err(bad());
    }
    Ok(UserNamespace::Range { first, size })
}

fn changes(names: &[String]) -> Result<Vec<capabilities::Change>, Failure> {
    names
        .iter()
        .map(|name| name.parse().map_err(Failure::from))
        .collect()
}

/// Those that box sets itself are refused, as what it sets would win.
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
