//! How a process gets into a control group.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// How a process enters the group, prepared by the parent.
#[derive(Debug)]
pub(crate) enum Join {
    /// By clone3(2) with `CLONE_INTO_CGROUP` and this descriptor.
    Clone(OwnedFd),
    /// By writing `0` to these `tasks`, see [`Join::enter`].
    Write(Vec<OwnedFd>),
    /// There is no group.
    None,
}

impl Join {
    /// The descriptor for clone3(2), on v2.
    pub fn clone_descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Clone(descriptor) => Some(descriptor.as_fd()),
            Self::Write(_) | Self::None => None,
        }
    }

    /// Moves the calling process into the group, unless clone3(2) has done so. Does not allocate.
    ///
    /// A cgroup namespace made by the same clone3(2) would have the parent's group as its root, so it has to be made by unshare(2)
    /// afterwards.
    pub fn enter(&self) -> Result<(), Errno> {
        if let Self::Write(descriptors) = self {
            for descriptor in descriptors {
                rustix::io::write(descriptor, b"0")?;
            }
        }
        Ok(())
    }
}
