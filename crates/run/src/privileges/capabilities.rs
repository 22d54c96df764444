//! Capabilities: the privileges of root in the container.
//!
//! Sets are bit masks. Names are the kernel's with their `CAP_` prefix, as in the OCI runtime spec. See capabilities(7).

use std::fmt;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities as OciSet, Capability as OciCapability, LinuxCapabilities};
use rustix::thread::capabilities;

use crate::Error;
use crate::channel::Step;
use crate::sealed::{Script, layout};

/// One capability, by its kernel number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(u8);

/// A set of capabilities: bit N is capability number N.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(u64);

/// The five sets of a thread, as in `process.capabilities` of a runtime spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The most that any exec can gain.
    pub bounding: Set,
    /// The set that permission checks use.
    pub effective: Set,
    /// The set that the thread may make effective.
    pub permitted: Set,
    /// The set that survives an exec of a file with matching inheritable file capabilities.
    pub inheritable: Set,
    /// The set that an unprivileged user keeps over an exec.
    pub ambient: Set,
}

/// A change of a set: one capability or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Every capability that box itself holds, `ALL`.
    All,
    /// One capability.
    One(Capability),
}

impl Capability {
    /// Make device nodes, mknod(2).
    pub const MKNOD: Self = Self(27);
    /// Sockets that see and forge every packet of a network, packet(7), raw(7).
    pub const NET_RAW: Self = Self(13);
    /// Mounts, namespaces, and much else.
    pub const SYS_ADMIN: Self = Self(21);

    /// The name with its prefix, such as `CAP_CHOWN`.
    pub fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }

    /// The kernel's number, of `linux/capability.h`.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Capability {
    type Err = Error;

    /// Accepts `CAP_NET_ADMIN`, `NET_ADMIN` and `net_admin`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        (0..)
            .zip(NAMES)
            .find(|(_, name)| *name == bare)
            .map(|(number, _)| Self(number))
            .ok_or_else(|| Error::UnknownCapability {
                name: text.to_owned(),
            })
    }
}

impl FromStr for Change {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.eq_ignore_ascii_case("all") {
            Ok(Self::All)
        } else {
            text.parse().map(Self::One)
        }
    }
}

impl Set {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// Every capability that this release knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The default of a container with its own network: Docker's default set without MKNOD, as containers need no device nodes, and
    /// without AUDIT_WRITE, as they do not need the host's audit log.
    pub const DEFAULT: Self = Self(
        1 << 0 // CHOWN
            | 1 << 1 // DAC_OVERRIDE
            | 1 << 3 // FOWNER
            | 1 << 4 // FSETID
            | 1 << 5 // KILL
            | 1 << 6 // SETGID
            | 1 << 7 // SETUID
            | 1 << 8 // SETPCAP
            | 1 << 10 // NET_BIND_SERVICE
            | 1 << 13 // NET_RAW
            | 1 << 18 // SYS_CHROOT
            | 1 << 31, // SETFCAP
    );

    /// The permitted set of this process, which is what it can pass on.
    pub fn held() -> Result<Self, Error> {
        let sets = capabilities(None)
            .map_err(|errno| Error::system("read box's own capabilities", errno))?;
        Ok(Self(sets.permitted.bits() & Self::ALL.0))
    }

    /// The kernel's form: bit N is capability number N.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has `capability`.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 >> capability.0 & 1 == 1
    }

    /// This set and `capability`.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// This set less `capability`.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability.0))
    }

    /// The members of both sets.
    #[must_use]
    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The default set of a container. On the host's network [`Capability::NET_RAW`] is left out: with it a container could read
    /// all traffic of the host's interfaces, loopback included, and forge packets.
    #[must_use]
    pub fn default_on(hosts_network: bool) -> Self {
        match hosts_network {
            true => Self::DEFAULT.difference(Self::EMPTY.with(Capability::NET_RAW)),
            false => Self::DEFAULT,
        }
    }

    /// The members of this set that are not in `other`.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it has no members.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8)
            .map(Capability)
            .filter(move |capability| self.contains(*capability))
    }

    /// Adds and drops capabilities in Docker's order: `ALL` first on either side, then the named ones. So dropping `ALL` and adding
    /// CHOWN leaves CHOWN, and adding `ALL` and dropping CHOWN leaves all but CHOWN. A capability that is both added and dropped by
    /// name is dropped. `held` is the set that `ALL` stands for, see [`Set::held`].
    #[must_use]
    pub fn changed(self, add: &[Change], drop: &[Change], held: Self) -> Self {
        let mut set = self;
        if add.contains(&Change::All) {
            set = held;
        }
        if drop.contains(&Change::All) {
            set = Self::EMPTY;
        }
        let named = |changes: &[Change]| {
            changes
                .iter()
                .fold(Self::EMPTY, |set, change| match change {
                    Change::All => set,
                    Change::One(capability) => set.with(*capability),
                })
        };
        set.union(named(add)).difference(named(drop))
    }

    /// The form in OCI documents.
    pub fn to_oci(self) -> OciSet {
        self.iter()
            .filter_map(|capability| OciCapability::from_str(NAMES[usize::from(capability.0)]).ok())
            .collect()
    }

    /// From an OCI document; `None` is the empty set.
    pub fn from_oci(set: Option<&OciSet>) -> Self {
        set.into_iter()
            .flatten()
            .filter_map(|capability| capability.to_string().parse().ok())
            .fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.iter().map(Capability::name))
            .finish()
    }
}

impl Capabilities {
    /// The sets of a process that runs as root with `set`: bounding, permitted and effective. None is inheritable, so that files
    /// with inheritable capabilities grant nothing (CVE-2022-24769).
    pub fn for_root(set: Set) -> Self {
        Self {
            bounding: set,
            effective: set,
            permitted: set,
            ..Self::default()
        }
    }

    /// The sets of a process that runs as an ordinary user: `set` bounds what set-user-ID programs can gain. Capabilities that were
    /// added by name, `added`, are effective from the start and survive an exec as ambient ones.
    pub fn for_user(set: Set, added: Set) -> Self {
        let given = set.intersection(added);
        Self {
            bounding: set,
            effective: given,
            permitted: given,
            inheritable: given,
            ambient: given,
        }
    }

    /// From `process.capabilities` of a runtime spec.
    pub fn from_oci(oci: &LinuxCapabilities) -> Self {
        Self {
            bounding: Set::from_oci(oci.bounding().as_ref()),
            effective: Set::from_oci(oci.effective().as_ref()),
            permitted: Set::from_oci(oci.permitted().as_ref()),
            inheritable: Set::from_oci(oci.inheritable().as_ref()),
            ambient: Set::from_oci(oci.ambient().as_ref()),
        }
    }

    /// As `process.capabilities` of a runtime spec.
    pub fn to_oci(self) -> LinuxCapabilities {
        let mut oci = LinuxCapabilities::default();
        oci.set_bounding(Some(self.bounding.to_oci()))
            .set_effective(Some(self.effective.to_oci()))
            .set_permitted(Some(self.permitted.to_oci()))
            .set_inheritable(Some(self.inheritable.to_oci()))
            .set_ambient(Some(self.ambient.to_oci()));
        oci
    }

    /// Refuses sets that the kernel would refuse later with an error number only: capabilities that box does not hold, effective or
    /// ambient ones that are not permitted, and ambient ones that are not inheritable, capabilities(7).
    pub fn check(&self, held: Set) -> Result<(), Error> {
        let wanted = self.permitted.union(self.inheritable);
        let missing = |set: Set, reason: &'static str| match set.iter().next() {
            None => Ok(()),
            Some(capability) => Err(Error::CapabilityNotHeld {
                name: capability.name(),
                reason,
            }),
        };
        missing(wanted.difference(held), "box itself does not hold it")?;
        missing(
            self.effective.difference(self.permitted),
            "it is effective but not permitted",
        )?;
        missing(
            self.ambient.difference(self.permitted),
            "it is ambient but not permitted",
        )?;
        missing(
            self.ambient.difference(self.inheritable),
            "it is ambient but not inheritable",
        )
    }

    /// First half, before the change of the user: shrinks the bounding set, and has the kernel keep the permitted set over
    /// setresuid(2).
    pub(crate) fn before_user_change(&self, script: &mut Script) {
        let kept = [self.bounding.0 as usize];
        script.add(layout::SHRINK_BOUNDING_SET, &kept, Step::BoundingSet, 0);
        let keep = [libc::PR_SET_KEEPCAPS as usize, 1];
        script.call(libc::SYS_prctl, &keep, Step::BoundingSet, 1);
    }

    /// Second half, after the change of the user: the remaining four sets. capset(2), version 3, takes two words of each set, the
    /// lower ones first.
    pub(crate) fn after_user_change(&self, script: &mut Script) {
        const VERSION_3: u32 = 0x2008_0522;
        let numbers = |numbers: &[u32]| -> Vec<u8> {
            numbers
                .iter()
                .flat_map(|number| number.to_ne_bytes())
                .collect()
        };
        let header = script.place(&numbers(&[VERSION_3, 0]));
        let sets = [self.effective.0, self.permitted.0, self.inheritable.0];
        let lower = sets.map(|set| set as u32);
        let upper = sets.map(|set| (set >> 32) as u32);
        let data = script.place(&numbers(&[lower, upper].concat()));
        script.call(libc::SYS_capset, &[header, data], Step::Capabilities, 0);
        let ambient = libc::PR_CAP_AMBIENT as usize;
        let clear = [ambient, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize];
        script.call(libc::SYS_prctl, &clear, Step::Capabilities, 0);
        for capability in self.ambient.iter() {
            let raise = libc::PR_CAP_AMBIENT_RAISE as usize;
            let raise = [ambient, raise, usize::from(capability.0)];
            script.call(libc::SYS_prctl, &raise, Step::Capabilities, 0);
        }
    }
}

/// The names of `linux/capability.h` by number, without their prefix.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests;
