//! Owner, permissions, attributes and times, in the only order that keeps all of them:
//!
//! 1. owner: `chown(2)` clears set-id bits and `security.capability`;
//! 2. permissions, unless creation already set them (set-id bits are cleared, a umask or an inherited list removes others);
//! 3. extended attributes: an access control list overrides permissions;
//! 4. times: everything before changes them. Those of a directory are set after its last child was created.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::entry::{Metadata, Problem, Time, Xattr};
use crate::tree::{Doing, Failure};

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const SET_ID: u32 = 0o6000;

/// The owner and mode that new files get at creation, so that only the differences have to be set.
#[derive(Debug)]
pub(crate) struct Creator {
    uid: u32,
    gid: u32,
    /// Not root: owners are not changed.
    keeps_owner: bool,
    /// New files get exactly the requested permissions: there is no umask.
    exact_modes: bool,
    /// Access control lists may be inherited from directories.
    inherits_lists: bool,
    /// New files get the directory's group instead of the process's (the mount option `grpid`).
    gives_directory_group: Option<bool>,
}

impl Creator {
    /// For the calling thread, whose umask is set to 0. The thread first gets a umask of its own, so that other threads keep theirs.
    pub fn for_this_thread() -> Creator {
        let own = nix::sched::unshare(CloneFlags::CLONE_FS).is_ok();
        if own {
            rustix::process::umask(Mode::empty());
        }
        let uid = rustix::process::geteuid();
        Creator {
            uid: uid.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            keeps_owner: !uid.is_root(),
            // Some sandboxes forbid unshare(2). Then every mode is set explicitly.
            exact_modes: own,
            inherits_lists: false,
            gives_directory_group: None,
        }
    }

    /// Checks whether the tree's root has a default access control list.
    pub fn inspect_root(&mut self, root: &OwnedFd) -> Result<(), Failure> {
        let mut value: [u8; 0] = [];
        match rustix::fs::fgetxattr(root, DEFAULT_ACL, &mut value) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) | Ok(0) => Ok(()),
            Ok(_) | Err(Errno::RANGE) => {
                self.inherits_lists = true;
                Ok(())
            }
            Err(errno) => Err(Failure::Kernel(
                "look at the access control list of the directory to unpack to",
                errno,
            )),
        }
    }

    /// After the first default access control list, new files may inherit one.
    pub fn note_default_acl(&mut self, metadata: &Metadata) {
        self.inherits_lists |= metadata
            .xattrs
            .iter()
            .any(|xattr| xattr.name == DEFAULT_ACL);
    }

    /// Completes a new file after its content was written.
    pub fn finish_file(
        &mut self,
        file: &OwnedFd,
        metadata: &Metadata,
        setgid_parent: bool,
    ) -> Result<(), Failure> {
        self.finish(file, metadata, setgid_parent, metadata.mode & SET_ID != 0)?;
        rustix::fs::futimens(file, &times(metadata.mtime)).doing("set the times of the file")
    }

    /// Completes a new directory, except for its times.
    pub fn finish_directory(
        &mut self,
        dir: &OwnedFd,
        metadata: &Metadata,
        setgid_parent: bool,
    ) -> Result<(), Failure> {
        if self.inherits_lists {
            remove_xattr(dir, DEFAULT_ACL)?;
        }
        self.finish(
            dir,
            metadata,
            setgid_parent,
            metadata.mode & SET_ID != 0 || setgid_parent,
        )?;
        self.note_default_acl(metadata);
        Ok(())
    }

    /// Completes a new symbolic link, device or fifo.
    pub fn finish_node(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        metadata: &Metadata,
        symlink: bool,
        setgid_parent: bool,
    ) -> Result<(), Failure> {
        let chowned = self.owner_differs(metadata, setgid_parent);
        if chowned {
            let (uid, gid) = owner(metadata);
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .doing("set the owner")?;
        }
        let chmod =
            !symlink && (!self.exact_modes || self.inherits_lists || metadata.mode & SET_ID != 0);
        if chmod || !metadata.xattrs.is_empty() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node =
                rustix::fs::openat(dir, name, flags, Mode::empty()).doing("open what was made")?;
            // The attributes of a link or device can only be set by a path that links to its open descriptor.
            let path = format!("/proc/self/fd/{}", node.as_raw_fd());
            if self.inherits_lists && !symlink {
                ignore_absent(rustix::fs::removexattr(&path, ACCESS_ACL))?;
            }
            if chmod {
                rustix::fs::chmod(&path, Mode::from_raw_mode(metadata.mode))
                    .doing("set the permissions")?;
            }
            for xattr in &metadata.xattrs {
                set(xattr, |flags| {
                    rustix::fs::setxattr(&path, &*xattr.name, &xattr.value, flags)
                })?;
            }
        }
        rustix::fs::utimensat(dir, name, &times(metadata.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .doing("set the times")
    }

    fn finish(
        &mut self,
        fd: &OwnedFd,
        metadata: &Metadata,
        setgid_parent: bool,
        chmod: bool,
    ) -> Result<(), Failure> {
        if self.gives_directory_group.is_none() && !setgid_parent {
            let stat = rustix::fs::fstat(fd).doing("look at what was made")?;
            self.gives_directory_group = Some(stat.st_gid != self.gid);
        }
        if self.owner_differs(metadata, setgid_parent) {
            let (uid, gid) = owner(metadata);
            rustix::fs::fchown(fd, Some(uid), Some(gid)).doing("set the owner")?;
        }
        if self.inherits_lists {
            remove_xattr(fd, ACCESS_ACL)?;
        }
        if chmod || !self.exact_modes || self.inherits_lists {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(metadata.mode))
                .doing("set the permissions")?;
        }
        set_xattrs(fd, &metadata.xattrs)
    }

    fn owner_differs(&self, metadata: &Metadata, setgid_parent: bool) -> bool {
        if self.keeps_owner {
            return false;
        }
        let groups_differ =
            setgid_parent || self.gives_directory_group == Some(true) || metadata.gid != self.gid;
        groups_differ || metadata.uid != self.uid
    }
}

/// Gives an existing directory the metadata of an entry, except for its times.
pub(crate) fn set_directory(dir: &OwnedFd, metadata: &Metadata) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = owner(metadata);
        rustix::fs::fchown(dir, Some(uid), Some(gid)).doing("set the owner")?;
    }
    // Nothing of an earlier entry with this name stays, as if the directory were new.
    for acl in [ACCESS_ACL, DEFAULT_ACL] {
        remove_xattr(dir, acl)?;
    }
    rustix::fs::fchmod(dir, Mode::from_raw_mode(metadata.mode)).doing("set the permissions")?;
    set_xattrs(dir, &metadata.xattrs)
}

/// For `utimensat(2)`: sets the modification time and keeps the access time.
pub(crate) fn times(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: time.seconds,
            tv_nsec: i64::from(time.nanos),
        },
    }
}

fn owner(metadata: &Metadata) -> (Uid, Gid) {
    (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid))
}

fn set_xattrs(fd: &OwnedFd, xattrs: &[Xattr]) -> Result<(), Failure> {
    for xattr in xattrs {
        set(xattr, |flags| {
            rustix::fs::fsetxattr(fd, &*xattr.name, &xattr.value, flags)
        })?;
    }
    Ok(())
}

fn set(xattr: &Xattr, call: impl FnOnce(XattrFlags) -> Result<(), Errno>) -> Result<(), Failure> {
    let refused = |reason| {
        Err(Problem::Xattr {
            name: xattr.name.clone(),
            reason,
        }
        .into())
    };
    match call(XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => refused("the target's file system does not support it"),
        Err(Errno::PERM | Errno::ACCESS) => {
            refused("it is not permitted for this process or this type of file")
        }
        Err(Errno::INVAL) => refused("the kernel refuses its value as malformed"),
        Err(Errno::NOSPC | Errno::TOOBIG) => {
            refused("there is no room for it beside the file's other attributes")
        }
        Err(errno) => Err(Failure::Kernel("set an extended attribute", errno)),
    }
}

fn remove_xattr(fd: impl AsFd, name: &[u8]) -> Result<(), Failure> {
    ignore_absent(rustix::fs::fremovexattr(fd, name))
}

fn ignore_absent(removed: Result<(), Errno>) -> Result<(), Failure> {
    match removed {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other.doing("remove an inherited access control list"),
    }
}
