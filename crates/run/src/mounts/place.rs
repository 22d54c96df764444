//! Finds or makes a mount point inside the root file system. In the child.
//!
//! A mount point is judged by where it resolves to, not by its text. A path that the spec gives outright, such as `/sys/fs/bpf`, is
//! taken as it is. A path that goes through a symbolic link of the image must not end in a kernel file system, in the container's
//! /dev or on a device: procfs could be faked, and box's later writes would go astray (CVE-2019-19921, CVE-2025-52881).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatFs, StatxAttributes, StatxFlags, fstat,
    fstatfs, mkdirat, openat, openat2, readlinkat, statx,
};
use rustix::io::Errno;

/// How many symbolic links are followed, the kernel's own limit (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// The kind of file that a mount point has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Stands for a path that a symbolic link leads to where nothing may be mounted. No system call made here fails with this number.
pub(crate) const ASTRAY: Errno = Errno::XDEV;

/// Resolves paths inside a root file system.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    /// The root file system.
    pub root: BorrowedFd<'a>,
    /// File systems that box made for the container and that look like any other: its /dev, and the view of the v1 control groups.
    pub made: [Option<BorrowedFd<'a>>; 2],
}

impl Resolver<'_> {
    /// Opens `path` below the root and makes missing parts. Symbolic links are followed as if the root were the root directory;
    /// [`ASTRAY`] if they lead to where nothing may be mounted.
    pub fn open_or_make(&self, path: &CStr, wanted: EntryKind) -> Result<OwnedFd, Errno> {
        let straight = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let found = match open(self.root, path, wanted, straight) {
            Err(Errno::NOENT) => self.make(path, wanted)?,
            Err(Errno::LOOP) => match open(self.root, path, wanted, ResolveFlags::IN_ROOT) {
                Err(Errno::NOENT) => self.make(path, wanted)?,
                found => {
                    let found = found?;
                    self.check_where(found.as_fd())?;
                    found
                }
            },
            other => other?,
        };
        check(&found, wanted)?;
        Ok(found)
    }

    /// Opens whatever is at `path` below the root. The same rule holds.
    pub fn open(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        let straight = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        match open(self.root, path, EntryKind::File, straight) {
            Err(Errno::LOOP) => {
                let found = open(self.root, path, EntryKind::File, ResolveFlags::IN_ROOT)?;
                self.check_where(found.as_fd())?;
                Ok(found)
            }
            other => other,
        }
    }

    /// Refuses a path that a symbolic link has led to, if nothing may be mounted on it or made in it.
    fn check_where(&self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        if matches!(
            kind(place)?,
            FileType::CharacterDevice | FileType::BlockDevice
        ) || is_of_the_kernel(&fstatfs(place)?)
        {
            return Err(ASTRAY);
        }
        for made in self.made.into_iter().flatten() {
            if mount_of(made)?.0 == mount_of(place)?.0 {
                return Err(ASTRAY);
            }
        }
        Ok(())
    }
}

/// The id of the mount that a descriptor is on, and whether it is the mount's root. statx(2)
pub fn mount_of(file: BorrowedFd<'_>) -> Result<(u64, bool), Errno> {
    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let is_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((found.stx_mnt_id, is_root))
}

/// Whether it is a file system through which the kernel is read or changed, linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts,
/// mqueue, debugfs, tracefs, securityfs, bpf, configfs, pstore, efivarfs, selinuxfs, binfmt_misc, nsfs, fusectl, rpc_pipefs, nfsd.
pub fn is_of_the_kernel(found: &StatFs) -> bool {
    const MAGIC: [u32; 19] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
        0x6265_6570,
        0x6165_676c,
        0xde5e_81e4,
        0xf97c_ff8c,
        0x4249_4e4d,
        0x6e73_6673,
        0x6573_5543,
        0x6759_6969,
        0x6e66_7364,
    ];
    MAGIC.contains(&(found.f_type as u32))
}

/// Opens the directory `path` inside `root`, and makes it if it is missing; [`Errno::LOOP`] if it is a symbolic link.
pub fn open_real_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    match open(root, path, EntryKind::Directory, resolve) {
        Err(Errno::NOENT) => {
            mkdirat(root, path, Mode::from_raw_mode(0o755))?;
            open(root, path, EntryKind::Directory, resolve)
        }
        other => other,
    }
}

fn open(
    root: BorrowedFd<'_>,
    path: &CStr,
    wanted: EntryKind,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECTORY, wanted == EntryKind::Directory);
    loop {
        match openat2(
            root,
            path,
            flags,
            Mode::empty(),
            resolve | ResolveFlags::NO_MAGICLINKS,
        ) {
            // A rename during the walk made the kernel give up; openat2(2) says to try again.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn check(found: &OwnedFd, wanted: EntryKind) -> Result<(), Errno> {
    match (wanted, kind(found.as_fd())? == FileType::Directory) {
        (EntryKind::Directory, false) => Err(Errno::NOTDIR),
        (EntryKind::File, true) => Err(Errno::ISDIR),
        _ => Ok(()),
    }
}

fn kind(file: BorrowedFd<'_>) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}

impl Resolver<'_> {
    /// Walks the path component by component and opens each without following it. The kernel does not follow a link whose target is
    /// missing, such as `resolv.conf -> ../run/systemd/resolve/stub-resolv.conf` in an image without /run.
    fn make(&self, path: &CStr, wanted: EntryKind) -> Result<OwnedFd, Errno> {
        // The directories from the root down to the current one. `..` is the previous entry, whatever happens to the tree
        // meanwhile.
        let mut parents: Vec<OwnedFd> = vec![];
        let mut left: Vec<CString> = vec![];
        push(&mut left, path.to_bytes())?;
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name.to_bytes() == b".." {
                parents.pop();
                continue;
            }
            let here = parents.last().map_or(self.root, AsFd::as_fd);
            let last = left.is_empty();
            let wanted = if last { wanted } else { EntryKind::Directory };
            let next = match look(here, &name) {
                Err(Errno::NOENT) => {
                    if links > 0 {
                        self.check_where(here)?;
                    }
                    make_one(here, &name, wanted)?
                }
                other => other?,
            };
            match kind(next.as_fd())? {
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&next, c"", vec![])?;
                    if target.to_bytes().starts_with(b"/") {
                        parents.clear();
                    }
                    push(&mut left, target.to_bytes())?;
                }
                FileType::Directory => parents.push(next),
                _ if last && links > 0 => return self.check_where(next.as_fd()).map(|()| next),
                _ if last => return Ok(next),
                _ => return Err(Errno::NOTDIR),
            }
        }
        // The path ended in a directory.
        let found = parents.pop().ok_or(Errno::ISDIR)?;
        if links > 0 {
            self.check_where(found.as_fd())?;
        }
        Ok(found)
    }
}

fn look(here: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(here, name, flags, Mode::empty())
}

fn make_one(here: BorrowedFd<'_>, name: &CStr, wanted: EntryKind) -> Result<OwnedFd, Errno> {
    let made = match wanted {
        EntryKind::Directory => mkdirat(here, name, Mode::from_raw_mode(0o755)),
        EntryKind::File => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(here, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => look(here, name),
        Err(errno) => Err(errno),
    }
}

/// Pushes the components of a path on the stack, the first one on top.
fn push(stack: &mut Vec<CString>, path: &[u8]) -> Result<(), Errno> {
    for name in path
        .split(|byte| *byte == b'/')
        .rev()
        .filter(|name| !name.is_empty() && *name != b".")
    {
        stack.push(CString::new(name).map_err(|_| Errno::INVAL)?);
    }
    Ok(())
}

/// Makes the mount point in a file system that box made. In a kernel file system it exists already.
pub(super) fn make_below(
    base: BorrowedFd<'_>,
    name: &CStr,
    wanted: EntryKind,
) -> Result<(), Errno> {
    let made = match wanted {
        _ if name.to_bytes().contains(&b'/') => return Ok(()),
        EntryKind::Directory => mkdirat(base, name, Mode::from_raw_mode(0o755)),
        EntryKind::File => openat(
            base,
            name,
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )
        .map(drop),
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Root(tempfile::TempDir, OwnedFd);

    impl Root {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("root")).unwrap();
            let file = std::fs::File::open(dir.path().join("root")).unwrap();
            Self(dir, file.into())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join("root").join(name)
        }

        fn open(&self, path: &CStr, wanted: EntryKind) -> Result<PathBuf, Errno> {
            let inside = Resolver {
                root: self.1.as_fd(),
                made: [None, None],
            };
            let found = inside.open_or_make(path, wanted)?;
            use std::os::fd::AsRawFd;
            Ok(std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).unwrap())
        }
    }

    #[test]
    fn makes_what_is_missing() {
        let root = Root::new();
        assert_eq!(
            root.open(c"a/b/c", EntryKind::Directory).unwrap(),
            root.path("a/b/c")
        );
        assert_eq!(
            root.open(c"a/b/d/f", EntryKind::File).unwrap(),
            root.path("a/b/d/f")
        );
        assert!(root.path("a/b/d/f").is_file());
        assert_eq!(root.open(c"a/b", EntryKind::File), Err(Errno::ISDIR));
        assert_eq!(
            root.open(c"a/b/d/f", EntryKind::Directory),
            Err(Errno::NOTDIR)
        );
        assert_eq!(root.open(c"a/b/d/f/g", EntryKind::File), Err(Errno::NOTDIR));
    }

    #[test]
    fn links_stay_inside() {
        let root = Root::new();
        std::fs::create_dir(root.path("etc")).unwrap();
        symlink(
            "../../../../run/x/resolv.conf",
            root.path("etc/resolv.conf"),
        )
        .unwrap();
        assert_eq!(
            root.open(c"etc/resolv.conf", EntryKind::File).unwrap(),
            root.path("run/x/resolv.conf")
        );
        symlink("/../../../../var/y", root.path("out")).unwrap();
        assert_eq!(
            root.open(c"out/z", EntryKind::Directory).unwrap(),
            root.path("var/y/z")
        );
        symlink(root.0.path(), root.path("host")).unwrap();
        let made = root.open(c"host/escaped", EntryKind::File).unwrap();
        assert!(made.starts_with(root.path("")), "{made:?}");
        assert!(!root.0.path().join("escaped").exists());
    }

    #[test]
    fn a_link_does_not_lead_to_a_device_or_into_dev() {
        use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
        let root = Root::new();
        rustix::fs::mknodat(
            &root.1,
            "null",
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        symlink("/null", root.path("link")).unwrap();
        assert_eq!(root.open(c"link", EntryKind::File), Err(ASTRAY));
        // What is said outright is.
        assert_eq!(
            root.open(c"null", EntryKind::File).unwrap(),
            root.path("null")
        );
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        rustix::mount::fsconfig_create(&context).unwrap();
        let dev = rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
        .unwrap();
        let inside = Resolver {
            root: dev.as_fd(),
            made: [Some(dev.as_fd()), None],
        };
        rustix::fs::symlinkat("there/below", &dev, "away").unwrap();
        let away = inside.open_or_make(c"away", EntryKind::Directory);
        assert_eq!(away.unwrap_err(), ASTRAY);
        assert!(
            rustix::fs::accessat(&dev, "there", rustix::fs::Access::EXISTS, AtFlags::empty())
                .is_err()
        );
        assert!(inside.open_or_make(c"plain", EntryKind::Directory).is_ok());
    }

    #[test]
    fn loops_end() {
        let root = Root::new();
        symlink("b", root.path("a")).unwrap();
        symlink("a", root.path("b")).unwrap();
        assert_eq!(root.open(c"a", EntryKind::File), Err(Errno::LOOP));
        symlink("c/x", root.path("c")).unwrap();
        assert_eq!(root.open(c"c", EntryKind::File), Err(Errno::LOOP));
        assert_eq!(root.open(c"..", EntryKind::File), Err(Errno::ISDIR));
    }

    #[test]
    fn real_directories_only() {
        let root = Root::new();
        let real = |path| open_real_directory(root.1.as_fd(), path);
        assert!(real(c"proc").is_ok());
        symlink("proc", root.path("dev")).unwrap();
        assert_eq!(real(c"dev").unwrap_err(), Errno::LOOP);
        std::fs::write(root.path("sys"), "").unwrap();
        assert_eq!(real(c"sys").unwrap_err(), Errno::NOTDIR);
    }
}
