//! One mount of a plan: checked, and opened where it is the host's, by the parent.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount};
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::mount::OpenTreeFlags;

use super::destination::{fakes_proc, normal};
use super::options::MountOptions;
use crate::Error;
use crate::error::c_string;
use crate::sys::mount::{Attributes, set_attributes};

/// One mount of the plan.
#[derive(Debug)]
pub(crate) struct MountStep {
    /// The absolute path in the container.
    pub destination: PathBuf,
    /// The kind of mount.
    pub kind: MountKind,
    /// Where the child finds the mount point.
    pub target: MountPoint,
    pub options: MountOptions,
}

/// The kind of mount.
#[derive(Debug)]
pub(crate) enum MountKind {
    /// A new file system.
    Filesystem { name: CString, source: CString },
    /// A file or directory of the host, opened by [`MountStep::open`].
    Bind {
        source: PathBuf,
        /// Whether it is a file of the bundle.
        own: bool,
        tree: Option<OwnedFd>,
        is_directory: bool,
    },
    /// A file in the container's memory, written under this name below /dev by [`write_texts`](super::write_texts).
    Text { name: CString, text: Vec<u8> },
    /// The view of the control groups: v2, or these v1 controllers.
    Cgroup { controllers: Vec<CString> },
}

/// Where the child finds the mount point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MountPoint {
    /// A path below the root file system. Symbolic links are followed inside it.
    Inside(CString),
    /// The same, but a symbolic link is an error: this file system must be mounted there and nowhere else.
    InsideNoLinks(CString),
    /// A name in a file system that an earlier step made, and that no image can have changed.
    Below { step: usize, name: CString },
}

impl MountStep {
    /// Checks the mounts of a spec. Relative bind sources are below `bundle`.
    pub fn plan(
        bundle: &Path,
        mounts: &[Mount],
        resources: Option<&LinuxResources>,
    ) -> Result<Vec<Self>, Error> {
        let mut steps: Vec<Self> = vec![];
        for mount in mounts {
            let step = Self::one(bundle, mount, resources, &steps)?;
            steps.push(step);
        }
        Ok(steps)
    }

    fn one(
        bundle: &Path,
        mount: &Mount,
        resources: Option<&LinuxResources>,
        before: &[Self],
    ) -> Result<Self, Error> {
        let destination = normal(mount.destination())?;
        let words = destination.display().to_string();
        let options = MountOptions::parse(&words, mount.options().as_deref().unwrap_or(&[]))?;
        let typ = mount.typ().as_deref().unwrap_or(if options.bind.is_some() {
            "bind"
        } else {
            "none"
        });
        let source = mount.source().as_deref().unwrap_or(Path::new("none"));
        let kind = match typ {
            _ if options.bind.is_some() || typ == "bind" => MountKind::Bind {
                own: source.is_relative(),
                source: bundle.join(source),
                tree: None,
                is_directory: false,
            },
            "cgroup" | "cgroup2" => MountKind::Cgroup {
                controllers: controllers(resources),
            },
            "none" => return Err(Error::spec(format!("mount on {words}"), "it has no type")),
            name => MountKind::Filesystem {
                name: c_string(name.as_bytes())?,
                source: c_string(source.as_os_str().as_bytes())?,
            },
        };
        if fakes_proc(&destination) {
            return Err(Error::spec(
                format!("mount on {words}"),
                "a mount below /proc would let the container fake it",
            ));
        }
        let target = target(&destination, typ, before)?;
        Ok(Self {
            destination,
            kind,
            target,
            options,
        })
    }

    /// Opens the source of a bind mount, with the privileges and in the mount namespace of the parent.
    ///
    /// Files of the bundle are mapped to the ids of `userns`, if there is one. Other files keep theirs.
    pub fn open(&mut self, userns: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let MountKind::Bind {
            source,
            own: of_bundle,
            tree,
            is_directory,
        } = &mut self.kind
        else {
            return Ok(());
        };
        let recursive = self.options.bind != Some(false);
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        let opened = rustix::mount::open_tree(CWD, source.as_path(), flags)
            .map_err(|errno| Error::io("open the source of a mount", source, errno))?;
        let kind = rustix::fs::statat(&opened, c"", AtFlags::EMPTY_PATH)
            .map_err(|errno| Error::io("look at", source, errno))?;
        *is_directory = FileType::from_raw_mode(kind.st_mode) == FileType::Directory;
        if let (Some(userns), true) = (userns, *of_bundle) {
            crate::namespaces::idmap::map(opened.as_fd(), userns)
                .map_err(|errno| Error::io("map the ids of", source, errno))?;
        }
        let (own, mut all) = (self.options.own, self.options.tree);
        if own.propagation == 0 && all.propagation == 0 {
            all.propagation = libc::MS_PRIVATE;
        }
        let failed = |errno| Error::io("set the options of a mount of", source, errno);
        // For a single mount one call is enough.
        let single = !recursive && all.set == 0 && all.clear == 0;
        if single {
            let both = Attributes {
                propagation: own.propagation | all.propagation,
                ..own
            };
            set_attributes(opened.as_fd(), &both, false).map_err(failed)?;
        } else {
            if all != Attributes::default() {
                set_attributes(opened.as_fd(), &all, true).map_err(failed)?;
            }
            if own != Attributes::default() {
                set_attributes(opened.as_fd(), &own, false).map_err(failed)?;
            }
        }
        *tree = Some(opened);
        Ok(())
    }

    /// A name for messages: `proc`, `/srv/data`.
    pub fn what(&self) -> String {
        match &self.kind {
            MountKind::Filesystem { name, .. } => name.to_string_lossy().into_owned(),
            MountKind::Bind { source, .. } => source.display().to_string(),
            MountKind::Text { name, .. } => {
                let name = name.to_string_lossy();
                name.rsplit('/').next().unwrap_or_default().to_owned()
            }
            MountKind::Cgroup { .. } => "cgroup".to_owned(),
        }
    }

    /// Keeps the content of a file of the bundle in memory if this step mounts that file.
    pub fn keep_in_memory(&mut self, file: &str, content: &str) -> Result<(), Error> {
        if let MountKind::Bind {
            source, own: true, ..
        } = &self.kind
            && source.file_name() == Some(file.as_ref())
        {
            self.kind = MountKind::Text {
                name: c_string(format!("shm/{file}").as_bytes())?,
                text: content.as_bytes().to_vec(),
            };
        }
        Ok(())
    }

    /// Whether it is a volume, and not one of the mounts that every container has.
    pub fn is_volume(&self) -> bool {
        match &self.kind {
            MountKind::Bind { own, .. } => !own,
            MountKind::Filesystem { name, .. } => {
                name.as_c_str() == c"tmpfs" && !self.destination.starts_with("/dev")
            }
            MountKind::Text { .. } | MountKind::Cgroup { .. } => false,
        }
    }
}

/// The v1 controllers that the container sees, those that it has groups in.
fn controllers(resources: Option<&LinuxResources>) -> Vec<CString> {
    let mut names = vec![c"memory".to_owned(), c"pids".to_owned()];
    if let Some(cpu) = resources.and_then(|resources| resources.cpu().as_ref()) {
        if cpu.quota().is_some() || cpu.shares().is_some() {
            names.push(c"cpu".to_owned());
        }
        if cpu.cpus().is_some() || cpu.mems().is_some() {
            names.push(c"cpuset".to_owned());
        }
    }
    if resources.is_some_and(|resources| resources.block_io().is_some()) {
        names.push(c"blkio".to_owned());
    }
    names
}

fn target(destination: &Path, typ: &str, before: &[MountStep]) -> Result<MountPoint, Error> {
    let inside = destination.strip_prefix("/").unwrap_or(destination);
    let above = before
        .iter()
        .enumerate()
        .rev()
        .find(|(_, step)| destination.starts_with(&step.destination));
    if let Some((
        step,
        MountStep {
            destination: base,
            kind: MountKind::Filesystem { name, .. },
            ..
        },
    )) = above
    {
        let below = destination.strip_prefix(base).unwrap_or(destination);
        let fresh = match name.to_bytes() {
            b"tmpfs" => below.components().count() == 1,
            b"sysfs" => below == Path::new("fs/cgroup"),
            _ => false,
        };
        if fresh {
            return Ok(MountPoint::Below {
                step,
                name: c_string(below.as_os_str().as_bytes())?,
            });
        }
    }
    let path = c_string(inside.as_os_str().as_bytes())?;
    let must_be_there = matches!(typ, "proc" | "sysfs") || destination == Path::new("/dev");
    Ok(if must_be_there {
        MountPoint::InsideNoLinks(path)
    } else {
        MountPoint::Inside(path)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(mounts: &[(&str, &str)]) -> Result<Vec<MountStep>, Error> {
        let mounts: Vec<_> = mounts
            .iter()
            .map(|(destination, typ)| {
                let mut mount = Mount::default();
                mount.set_destination(destination.into());
                mount.set_typ(Some((*typ).to_owned()));
                mount.set_source(Some("x".into()));
                mount
            })
            .collect();
        MountStep::plan(Path::new("/bundle"), &mounts, None)
    }

    #[test]
    fn places_are_in_the_image_or_in_what_we_made() {
        let steps = plan(&[
            ("/dev", "tmpfs"),
            ("/dev/shm", "tmpfs"),
            ("/dev/a/b", "bind"),
            ("/etc/x", "bind"),
        ])
        .unwrap();
        let targets: Vec<_> = steps.iter().map(|step| &step.target).collect();
        assert_eq!(*targets[0], MountPoint::InsideNoLinks(c"dev".into()));
        assert_eq!(
            *targets[1],
            MountPoint::Below {
                step: 0,
                name: c"shm".into()
            }
        );
        assert_eq!(*targets[2], MountPoint::Inside(c"dev/a/b".into()));
        assert_eq!(*targets[3], MountPoint::Inside(c"etc/x".into()));
        assert!(
            matches!(&steps[3].kind, MountKind::Bind { source, .. } if source == Path::new("/bundle/x"))
        );
    }

    #[test]
    fn a_bind_between_hides_what_we_made() {
        let steps = plan(&[
            ("/dev", "tmpfs"),
            ("/dev/pts", "bind"),
            ("/dev/pts/x", "bind"),
        ])
        .unwrap();
        assert_eq!(steps[2].target, MountPoint::Inside(c"dev/pts/x".into()));
    }

    #[test]
    fn bad_destinations() {
        for destination in ["", "/", "relative", "/..", "/proc/self", "/proc/x/../sys"] {
            assert!(plan(&[(destination, "bind")]).is_err(), "{destination:?}");
        }
        assert!(plan(&[("/proc/meminfo", "bind")]).is_ok());
    }
}
