//! Opens mounts of a spec outside a start, to look into a container that is not running.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::step::{MountKind, MountStep};
use crate::Error;

/// A mount of a spec, as a start would make it now.
#[derive(Debug)]
pub struct Reopened {
    /// The source on the host; `None` for a file system of the container's own, which exists only while it runs.
    pub source: Option<PathBuf>,
    /// The source as a detached mount, or why it cannot be opened.
    pub tree: Result<Option<OwnedFd>, Error>,
}

/// Opens the source of a bind mount of a spec. Files of the bundle are mapped to the ids of `userns`, if there is one.
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
