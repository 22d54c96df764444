//! Finds or makes the place of a mount inside the root file system. In the child.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, readlinkat,
};
use rustix::io::Errno;

/// How many symbolic links are followed, as the kernel's own limit (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// What has to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Opens `path` inside `root`, making what is missing. Symbolic links are followed as if `root` were the root directory.
pub fn open_or_make(root: BorrowedFd<'_>, path: &CStr, wanted: Wanted) -> Result<OwnedFd, Errno> {
    let found = match open(root, path, wanted, ResolveFlags::IN_ROOT) {
        Err(Errno::NOENT) => make(root, path, wanted)?,
        other => other?,
    };
    check(&found, wanted)?;
    Ok(found)
}

/// Opens the directory `path` inside `root`, making it if it is missing; [`Errno::LOOP`] if it is a symbolic link.
pub fn open_real_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    match open(root, path, Wanted::Directory, resolve) {
        Err(Errno::NOENT) => {
            mkdirat(root, path, Mode::from_raw_mode(0o755))?;
            open(root, path, Wanted::Directory, resolve)
        }
        other => other,
    }
}

fn open(
    root: BorrowedFd<'_>,
    path: &CStr,
    wanted: Wanted,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECTORY, wanted == Wanted::Directory);
    loop {
        match openat2(
            root,
            path,
            flags,
            Mode::empty(),
            resolve | ResolveFlags::NO_MAGICLINKS,
        ) {
            // A rename on the way made the kernel give up; it says to try again, openat2(2).
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn check(found: &OwnedFd, wanted: Wanted) -> Result<(), Errno> {
    match (wanted, kind(found.as_fd())? == FileType::Directory) {
        (Wanted::Directory, false) => Err(Errno::NOTDIR),
        (Wanted::File, true) => Err(Errno::ISDIR),
        _ => Ok(()),
    }
}

fn kind(file: BorrowedFd<'_>) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}

/// Walks the path component by component, each opened without following it. The kernel does not follow a link to what
/// is not there yet, such as `resolv.conf -> ../run/systemd/resolve/stub-resolv.conf` in an image without /run.
fn make(root: BorrowedFd<'_>, path: &CStr, wanted: Wanted) -> Result<OwnedFd, Errno> {
    // Directories from the root down to where we are: `..` is the one before, whatever happens to the tree meanwhile.
    let mut parents: Vec<OwnedFd> = vec![];
    let mut left: Vec<CString> = vec![];
    push(&mut left, path.to_bytes())?;
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name.to_bytes() == b".." {
            parents.pop();
            continue;
        }
        let here = parents.last().map_or(root, AsFd::as_fd);
        let last = left.is_empty();
        let next = open_or_make_one(here, &name, if last { wanted } else { Wanted::Directory })?;
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
            _ if last => return Ok(next),
            _ => return Err(Errno::NOTDIR),
        }
    }
    // The path ended in a directory.
    parents.pop().ok_or(Errno::ISDIR)
}

fn open_or_make_one(here: BorrowedFd<'_>, name: &CStr, wanted: Wanted) -> Result<OwnedFd, Errno> {
    let look = || {
        openat(
            here,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    match look() {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let made = match wanted {
        Wanted::Directory => mkdirat(here, name, Mode::from_raw_mode(0o755)),
        Wanted::File => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(here, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => look(),
        Err(errno) => Err(errno),
    }
}

/// Puts the components of a path on the stack, the first one on top.
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

        fn open(&self, path: &CStr, wanted: Wanted) -> Result<PathBuf, Errno> {
            let found = open_or_make(self.1.as_fd(), path, wanted)?;
            use std::os::fd::AsRawFd;
            Ok(std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).unwrap())
        }
    }

    #[test]
    fn makes_what_is_missing() {
        let root = Root::new();
        assert_eq!(
            root.open(c"a/b/c", Wanted::Directory).unwrap(),
            root.path("a/b/c")
        );
        assert_eq!(
            root.open(c"a/b/d/f", Wanted::File).unwrap(),
            root.path("a/b/d/f")
        );
        assert!(root.path("a/b/d/f").is_file());
        assert_eq!(root.open(c"a/b", Wanted::File), Err(Errno::ISDIR));
        assert_eq!(root.open(c"a/b/d/f", Wanted::Directory), Err(Errno::NOTDIR));
        assert_eq!(root.open(c"a/b/d/f/g", Wanted::File), Err(Errno::NOTDIR));
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
            root.open(c"etc/resolv.conf", Wanted::File).unwrap(),
            root.path("run/x/resolv.conf")
        );
        symlink("/../../../../var/y", root.path("out")).unwrap();
        assert_eq!(
            root.open(c"out/z", Wanted::Directory).unwrap(),
            root.path("var/y/z")
        );
        symlink(root.0.path(), root.path("host")).unwrap();
        let made = root.open(c"host/escaped", Wanted::File).unwrap();
        assert!(made.starts_with(root.path("")), "{made:?}");
        assert!(!root.0.path().join("escaped").exists());
    }

    #[test]
    fn loops_end() {
        let root = Root::new();
        symlink("b", root.path("a")).unwrap();
        symlink("a", root.path("b")).unwrap();
        assert_eq!(root.open(c"a", Wanted::File), Err(Errno::LOOP));
        symlink("c/x", root.path("c")).unwrap();
        assert_eq!(root.open(c"c", Wanted::File), Err(Errno::LOOP));
        assert_eq!(root.open(c"..", Wanted::File), Err(Errno::ISDIR));
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
