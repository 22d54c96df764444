//! Mounts of a spec outside of a start, for who looks into a container that does not run.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::step::{MountKind, MountStep};
use crate::Error;

/// A mount as it would be made now.
#[derive(Debug)]
pub struct Reopened {
    /// The file of the host that is bound; `None` for a file system of the container's own, which is there while it runs.
    pub source: Option<PathBuf>,
    /// That file as a mount that is attached nowhere, or why it cannot be had.
    pub tree: Result<Option<OwnedFd>, Error>,
}

/// Opens what a mount of a spec binds; with `userns` its ids are shown as that namespace's where the mount asks for that.
pub fn reopen(
    bundle: &Path,
    mount: &Mount,
    userns: Option<BorrowedFd<'_>>,
) -> Result<Vec<Reopened>, Error> {
    let steps = MountStep::plan(bundle, std::slice::from_ref(mount), None)?;
    let one = |mut step: MountStep| {
        let opened = step.open(userns);
        match step.kind {
            MountKind::Bind { source, tree, .. } => Reopened {
                source: Some(source),
                tree: opened.map(|()| tree),
            },
            _ => Reopened {
                source: None,
                tree: opened.map(|()| None),
            },
        }
    };
    Ok(steps.into_iter().map(one).collect())
}
