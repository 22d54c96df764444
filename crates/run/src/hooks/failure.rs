//! When hooks run, and how one failed: these values cross the channel between the container's first process and box.

use rustix::io::Errno;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Point {
    /// After the namespaces are made, before anything else. In the host's namespaces.
    CreateRuntime,
    /// After the mounts are made, before the root changes. In the container's namespaces.
    CreateContainer,
    /// Just before the command. In the container.
    StartContainer,
    /// After the command was executed. On the host.
    Poststart,
    /// After the container has ended. On the host.
    Poststop,
}

/// A hook that failed, in numbers: the child may have run it, and the parent turns it into an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HookFailure {
    /// The point at which it ran.
    pub point: Point,
    /// Its index among the hooks of that point.
    pub index: u16,
    /// How it failed.
    pub end: HookEnd,
}

/// How a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookEnd {
    /// The state that it reads could not be written.
    NoState,
    /// It could not be executed.
    NotExecuted(Errno),
    /// Waiting for it failed.
    NotSeen(Errno),
    /// It exited with this status, which is not 0.
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
