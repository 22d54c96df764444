//! The numbered steps of a set-up.

use rustix::io::Errno;

/// A step of the child that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub step: Step,
    /// Which one of several, such as the number of the mount.
    pub index: u16,
    /// Why.
    pub errno: Errno,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The steps of the child that can fail. The parent turns them into errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The step of that number.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

steps! {
    /// Have the child die with its parent.
    DieWithParent,
    /// Join namespace number `index` of the plan.
    JoinNamespace,
    /// Make a namespace (network, control group, time).
    Unshare,
    /// Set the loopback device up.
    Loopback,
    /// A session of its own.
    Session,
    /// Keep mounts from reaching the host.
    Propagation,
    /// The overlay, or the bind of the root file system.
    Rootfs,
    /// Find or make the mount point of mount number `index`.
    MountTarget,
    /// Mount number `index`.
    Mount,
    /// Node or link number `index` below /dev.
    Device,
    /// Allocate the terminal.
    Terminal,
    /// Wait for the parent.
    Handshake,
    /// Kernel parameter number `index`.
    Sysctl,
    /// Masked path number `index`.
    Mask,
    /// Read-only path number `index`.
    ReadOnlyPath,
    /// Make the root file system read-only.
    ReadOnlyRoot,
    /// Prepare the state that a hook in the container reads.
    Hook,
    /// Change the root.
    Pivot,
    /// The host name.
    Hostname,
    /// The domain name.
    Domainname,
    /// Resource limit number `index`.
    Rlimit,
    /// The score of the OOM killer.
    OomScore,
    /// personality(2).
    Personality,
    /// The session keyring.
    Keyring,
    /// Become root of the user namespace.
    UserNamespace,
    /// prctl PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// The seccomp filter.
    Seccomp,
    /// The bounding set.
    BoundingSet,
    /// Supplementary groups.
    Groups,
    /// User and group.
    User,
    /// The capability sets.
    Capabilities,
    /// The working directory.
    WorkingDirectory,
    /// The working directory is not below the container's root.
    WorkingDirectoryOutside,
    /// Standard input, output and error.
    Stdio,
    /// Close what the command must not inherit.
    CloseDescriptors,
    /// Signal mask and handlers.
    Signals,
    /// Fork the command from the PID 1 that reaps orphans.
    Fork,
    /// Execute the sealed program.
    Seal,
    /// Fork a process in the container's pid namespace from the sealed program.
    Enter,
    /// Report that process to box.
    Announce,
}

impl Step {
    /// Attaches the step to an error.
    pub fn failed(self, index: usize) -> impl FnOnce(Errno) -> Failed {
        move |errno| Failed {
            step: self,
            index: index as u16,
            errno,
        }
    }
}
