//! The mounts of a container: planned by the parent ([`MountStep`]), made by the child ([`mod@make`]).
//!
//! A path of the image is never followed by name. Places are opened by openat2(2) inside the root file system, so that a
//! symbolic link in the image, or one exchanged meanwhile through a shared volume, cannot lead a mount onto the host
//! (CVE-2021-30465), and mounts are attached to these descriptors. Sources on the host are opened by the parent.

mod make;
pub(crate) mod options;
mod paths;
mod target;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount};
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::mount::OpenTreeFlags;

pub(crate) use make::{Mounted, TAKEN, filesystem, make, write_texts};
pub(crate) use paths::{Hidden, descriptor_path, make_private, mask, read_only};
pub(crate) use target::{ASTRAY, is_of_the_kernel};

use crate::Error;
use crate::sys::mount::{Attributes, set_attributes};
use options::MountOptions;

/// One mount of the plan.
#[derive(Debug)]
pub(crate) struct MountStep {
    /// In the container, absolute.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: Kind,
    /// Where the child finds the place.
    pub target: Target,
    pub options: MountOptions,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A new instance of a file system.
    Filesystem { name: CString, source: CString },
    /// A file or directory of the host, opened by [`MountStep::open`].
    Bind {
        source: PathBuf,
        /// A file of the bundle.
        own: bool,
        tree: Option<OwnedFd>,
        is_directory: bool,
    },
    /// A file that is kept in memory, made by [`write_texts`] under this name below /dev.
    Text { name: CString, text: Vec<u8> },
    /// The view of the control groups: v2, or these controllers of v1.
    Cgroup { controllers: Vec<CString> },
}

/// Where the child finds the place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Below the root file system: symbolic links are followed inside of it.
    Inside(CString),
    /// The same, but a symbolic link is an error: what is mounted there must be there and nowhere else.
    InsideNoLinks(CString),
    /// A name in a file system that an earlier step made, which no image has touched.
    Below { step: usize, name: CString },
}

impl MountStep {
    /// Checks the mounts of a spec. Relative bind sources are in `bundle`.
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
            _ if options.bind.is_some() || typ == "bind" => Kind::Bind {
                own: source.is_relative(),
                source: bundle.join(source),
                tree: None,
                is_directory: false,
            },
            "cgroup" | "cgroup2" => Kind::Cgroup {
                controllers: controllers(resources),
            },
            "none" => return Err(Error::spec(format!("mount on {words}"), "it has no type")),
            name => Kind::Filesystem {
                name: c_string(name.as_bytes())?,
                source: c_string(source.as_os_str().as_bytes())?,
            },
        };
        if let Some(below) = destination
            .strip_prefix("/proc")
            .ok()
            .filter(|below| !below.as_os_str().is_empty())
            && !MAY_COVER.iter().any(|name| below == Path::new(name))
        {
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

    /// Opens what the parent must open, with its rights and in its mount namespace: the sources of bind mounts.
    ///
    /// Files of the bundle are shown with the ids of `userns`, if there is one; files of the user keep theirs.
    pub fn open(&mut self, userns: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let Kind::Bind {
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
            crate::idmap::map(opened.as_fd(), userns)
                .map_err(|errno| Error::io("map the ids of", source, errno))?;
        }
        let (own, mut all) = (self.options.own, self.options.tree);
        if own.propagation == 0 && all.propagation == 0 {
            all.propagation = libc::MS_PRIVATE;
        }
        let failed = |errno| Error::io("set the options of a mount of", source, errno);
        // One call where one will do: attributes of the mount itself apply to a tree of one alike.
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

    /// What is mounted, in words: `proc`, `/srv/data`.
    pub fn what(&self) -> String {
        match &self.kind {
            Kind::Filesystem { name, .. } => name.to_string_lossy().into_owned(),
            Kind::Bind { source, .. } => source.display().to_string(),
            Kind::Text { name, .. } => {
                let name = name.to_string_lossy();
                name.rsplit('/').next().unwrap_or_default().to_owned()
            }
            Kind::Cgroup { .. } => "cgroup".to_owned(),
        }
    }

    /// Keeps the content of a file of the bundle in memory, if this step mounts that file.
    pub fn keep_in_memory(&mut self, file: &str, content: &str) -> Result<(), Error> {
        if let Kind::Bind {
            source, own: true, ..
        } = &self.kind
            && source.file_name() == Some(file.as_ref())
        {
            self.kind = Kind::Text {
                name: c_string(format!("shm/{file}").as_bytes())?,
                text: content.as_bytes().to_vec(),
            };
        }
        Ok(())
    }

    /// Whether somebody asked for it: not one of those that every container has.
    pub fn is_volume(&self) -> bool {
        match &self.kind {
            Kind::Bind { own, .. } => !own,
            Kind::Filesystem { name, .. } => {
                name.as_c_str() == c"tmpfs" && !self.destination.starts_with("/dev")
            }
            Kind::Text { .. } | Kind::Cgroup { .. } => false,
        }
    }
}

/// The files below /proc that users such as lxcfs replace (the list of runc).
const MAY_COVER: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
];

fn target(destination: &Path, typ: &str, before: &[MountStep]) -> Result<Target, Error> {
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
            kind: Kind::Filesystem { name, .. },
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
            return Ok(Target::Below {
                step,
                name: c_string(below.as_os_str().as_bytes())?,
            });
        }
    }
    let path = c_string(inside.as_os_str().as_bytes())?;
    let must_be_there = matches!(typ, "proc" | "sysfs") || destination == Path::new("/dev");
    Ok(if must_be_there {
        Target::InsideNoLinks(path)
    } else {
        Target::Inside(path)
    })
}

/// The v1 controllers that the container sees: those it has groups in.
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

/// An absolute path without `.`, `..` and double slashes.
pub(crate) fn normal(path: &Path) -> Result<PathBuf, Error> {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    if !path.is_absolute() || out == Path::new("/") {
        return Err(Error::spec(
            "mounts",
            format!("{} is not an absolute path below /", path.display()),
        ));
    }
    Ok(out)
}

pub(crate) fn c_string(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes)
        .map_err(|_| Error::spec(String::from_utf8_lossy(bytes), "it holds a zero byte"))
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
        assert_eq!(*targets[0], Target::InsideNoLinks(c"dev".into()));
        assert_eq!(
            *targets[1],
            Target::Below {
                step: 0,
                name: c"shm".into()
            }
        );
        assert_eq!(*targets[2], Target::Inside(c"dev/a/b".into()));
        assert_eq!(*targets[3], Target::Inside(c"etc/x".into()));
        assert!(
            matches!(&steps[3].kind, Kind::Bind { source, .. } if source == Path::new("/bundle/x"))
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
        assert_eq!(steps[2].target, Target::Inside(c"dev/pts/x".into()));
    }

    #[test]
    fn bad_destinations() {
        for destination in ["", "/", "relative", "/..", "/proc/self", "/proc/x/../sys"] {
            assert!(plan(&[(destination, "bind")]).is_err(), "{destination:?}");
        }
        assert!(plan(&[("/proc/meminfo", "bind")]).is_ok());
    }
}
