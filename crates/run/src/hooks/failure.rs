//! When hooks run, and how one failed: what crosses the line between the container's first process and box.

use rustix::io::Errno;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Point {
    /// The namespaces are made, nothing else. In the host's namespaces.
    CreateRuntime,
    /// The mounts are made, the root is still the host's. In the container's namespaces.
    CreateContainer,
    /// Just before the command. In the container.
    StartContainer,
    /// The command runs. On the host.
    Poststart,
    /// The container is gone. On the host.
    Poststop,
}

/// A hook that failed, in numbers: it may have been the child that ran it, and the parent words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HookFailure {
    /// When it was to run.
    pub point: Point,
    /// Which one of that point.
    pub index: u16,
    /// What it did.
    pub end: HookEnd,
}

/// How a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookEnd {
    /// There was nothing to tell it.
    NoState,
    /// It could not be executed.
    NotExecuted(Errno),
    /// Its end could not be seen.
    NotSeen(Errno),
    /// With this status, which is not 0.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It took longer than its time limit and was killed.
    TimedOut,
}

impl Point {
    /// All of them, by number.
    const ALL: [Self; 5] = [
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The point of that number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// As the spec calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}
