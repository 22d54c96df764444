//! Makes the nodes and links below a container's /dev.
//!
//! Where a node of the host has to be used, it is bound through a read-only mount. Such a node can be opened for reading and
//! writing, but its mode, owner, times and attributes cannot be changed (mount_setattr(2); the kernel checks the mount, not the
//! inode, before it writes metadata).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDeviceType};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, makedev, mkdirat, mknodat, openat, statat,
    symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::null::{behind_read_only_mount, null_device};
use crate::Error;
use crate::devices::{self, DEFAULT_LINKS, DEFAULT_NODES};
use crate::error::c_string;
use crate::mounts::{MountKind, MountStep};
use crate::namespaces::idmap::NO_ID;

/// The nodes and links in the file system that mount number `base` makes on /dev.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub base: usize,
    nodes: Vec<Node>,
    /// Name and target.
    links: Vec<(CString, CString)>,
}

/// One device node.
#[derive(Debug)]
struct Node {
    /// Below /dev.
    name: CString,
    /// The host's node, to be bound where nodes cannot be made.
    host: CString,
    kind: FileType,
    device: u64,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Nodes {
    /// Checks the devices of a spec. `None` if /dev is not a new tmpfs, but a bind mount for example.
    pub fn plan(linux: &Linux, mounts: &[MountStep]) -> Result<Option<Self>, Error> {
        let base = mounts.iter().rposition(|step| {
            step.destination == Path::new("/dev") && matches!(&step.kind, MountKind::Filesystem { name, .. } if name.as_c_str() == c"tmpfs")
        });
        let Some(base) = base else { return Ok(None) };
        let mut nodes = DEFAULT_NODES
            .iter()
            .map(Node::default_one)
            .collect::<Result<Vec<_>, _>>()?;
        let links = DEFAULT_LINKS
            .iter()
            .map(|(name, target)| Ok((c_string(name.as_bytes())?, c_string(target.as_bytes())?)));
        let links = links.collect::<Result<Vec<_>, Error>>()?;
        for device in linux.devices().as_deref().unwrap_or(&[]) {
            let path = crate::mounts::normal(device.path())?;
            let bad = |reason: &str| {
                Error::spec("linux.devices", format!("{}: {reason}", path.display()))
            };
            let below = path
                .strip_prefix("/dev")
                .map_err(|_| bad("a device node must be below /dev"))?;
            let kind = match device.typ() {
                LinuxDeviceType::B => FileType::BlockDevice,
                LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
                LinuxDeviceType::P => FileType::Fifo,
                LinuxDeviceType::A => return Err(bad("type a is for rules, not for nodes")),
            };
            let number =
                |value: i64| u32::try_from(value).map_err(|_| bad("its number is out of range"));
            let (major, minor) = (number(device.major())?, number(device.minor())?);
            let owner = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
            if [owner.0, owner.1].contains(&NO_ID) {
                return Err(bad("4294967295 is not a valid id of an owner"));
            }
            // The path on the host may differ from the one in the container.
            let host = match kind {
                FileType::BlockDevice => {
                    devices::host_node(devices::DeviceKind::Block, major, minor)
                }
                FileType::CharacterDevice => {
                    devices::host_node(devices::DeviceKind::Character, major, minor)
                }
                _ => None,
            };
            let name = c_string(below.as_os_str().as_bytes())?;
            nodes.retain(|known| known.name != name);
            nodes.push(Node {
                name,
                host: c_string(host.as_deref().unwrap_or(&path).as_os_str().as_bytes())?,
                kind,
                device: makedev(major, minor),
                mode: device.file_mode().unwrap_or(0o666) & 0o7777,
                owner: Some(owner),
            });
        }
        Ok(Some(Self { base, nodes, links }))
    }

    /// Makes them. In the child, with a umask of 0. The number in an error counts the nodes, then the links.
    pub fn make(&self, dev: BorrowedFd<'_>) -> Result<(), (usize, Errno)> {
        for (index, node) in self.nodes.iter().enumerate() {
            node.make(dev).map_err(|errno| (index, errno))?;
        }
        for (index, (name, target)) in self.links.iter().enumerate() {
            match symlinkat(target.as_c_str(), dev, name.as_c_str()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err((self.nodes.len() + index, errno)),
            }
        }
        Ok(())
    }

    /// Opens the null device that [`Nodes::make`] made, before anything can be mounted over it. `None` if the spec has another
    /// device of that name, or if it cannot be opened.
    pub fn open_null(&self, dev: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
        let is_null =
            |node: &Node| node.kind == FileType::CharacterDevice && node.device == null_device();
        let node = self.nodes.iter().find(|node| node.name.as_c_str() == NULL);
        if !node.is_some_and(is_null) {
            return Ok(None);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        match openat(dev, NULL, flags, Mode::empty()) {
            // The spec mounts this tmpfs with nodev.
            Err(Errno::ACCESS) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The path of the node or link with that number.
    pub fn path(&self, index: usize) -> String {
        let link = || {
            self.links
                .get(index.wrapping_sub(self.nodes.len()))
                .map(|(name, _)| name.as_c_str())
        };
        let name = self
            .nodes
            .get(index)
            .map(|node| node.name.as_c_str())
            .or_else(link)
            .unwrap_or_default();
        format!("/dev/{}", name.to_string_lossy())
    }
}

impl Node {
    fn default_one(node: &crate::devices::Node) -> Result<Self, Error> {
        Ok(Self {
            name: c_string(node.name.as_bytes())?,
            host: c_string(format!("/dev/{}", node.name).as_bytes())?,
            kind: FileType::CharacterDevice,
            device: makedev(node.major, node.minor),
            mode: 0o666,
            owner: None,
        })
    }

    fn make(&self, dev: BorrowedFd<'_>) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(self.mode);
        match mknodat(dev, self.name.as_c_str(), self.kind, mode, self.device) {
            Ok(()) => {}
            Err(Errno::NOENT) => {
                make_parents(dev, &self.name)?;
                mknodat(dev, self.name.as_c_str(), self.kind, mode, self.device)?;
            }
            // In a user namespace, or in an outer container.
            Err(Errno::PERM) => return self.bind(dev),
            Err(errno) => return Err(errno),
        }
        match self.owner {
            Some((uid, gid)) if uid != 0 || gid != 0 => {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(
                    dev,
                    self.name.as_c_str(),
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
            }
            _ => Ok(()),
        }
    }

    fn bind(&self, dev: BorrowedFd<'_>) -> Result<(), Errno> {
        let tree = behind_read_only_mount(&self.host)?;
        let found = statat(&tree, c"", AtFlags::EMPTY_PATH)?;
        if FileType::from_raw_mode(found.st_mode) != self.kind || found.st_rdev != self.device {
            return Err(Errno::NODEV);
        }
        let create = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(dev, self.name.as_c_str(), flags, Mode::from_raw_mode(0o666)).map(drop)
        };
        match create() {
            Err(Errno::NOENT) => {
                make_parents(dev, &self.name)?;
                create()?;
            }
            other => other?,
        }
        move_mount(
            tree.as_fd(),
            c"",
            dev,
            self.name.as_c_str(),
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    }
}

const NULL: &CStr = c"null";

/// Makes the directories of a name such as `net/tun`.
fn make_parents(dev: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let name = name.to_bytes();
    for (at, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        match mkdirat(dev, &name[..at], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
