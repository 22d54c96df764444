//! Removal of directory trees that a container may have filled: any depth, any name, immutable files.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

/// The deepest directory that is removed in place. Deeper ones are moved to the top first, which bounds the number of open files.
const DEEPEST: usize = 64;

/// Removes a directory and everything below it, if it exists. Needs no free space and follows no link.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    let failed = |errno: Errno| Error::io("remove", path, errno);
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut removal = Removal { top, moved: 0 };
    loop {
        removal.clear(None, 0).map_err(failed)?;
        match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Directories that were too deep are at the top now.
            Err(Errno::NOTEMPTY) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

struct Removal {
    top: OwnedFd,
    moved: u64,
}

impl Removal {
    /// Empties a directory; `None` is the top.
    fn clear(&mut self, directory: Option<&OwnedFd>, depth: usize) -> Result<(), Errno> {
        let listing = Dir::read_from(directory.unwrap_or(&self.top))?;
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                self.directory(directory, name, depth)?;
                continue;
            }
            match unlink(directory.unwrap_or(&self.top), name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The file system does not report types in listings.
                Err(Errno::ISDIR) => self.directory(directory, name, depth)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        parent: Option<&OwnedFd>,
        name: &CStr,
        depth: usize,
    ) -> Result<(), Errno> {
        // Most directories of a container are empty: one call instead of four.
        match rustix::fs::unlinkat(parent.unwrap_or(&self.top), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(_) => {}
        }
        if depth == DEEPEST {
            return self.move_up(
                parent
                    .unwrap_or(&self.top)
                    .try_clone()
                    .map_err(|_| Errno::MFILE)?,
                name,
            );
        }
        let inner = match open(parent.unwrap_or(&self.top), name) {
            Ok(inner) => inner,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        self.clear(Some(&inner), depth + 1)?;
        match unlink(parent.unwrap_or(&self.top), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn move_up(&mut self, parent: OwnedFd, name: &CStr) -> Result<(), Errno> {
        loop {
            let target = format!(".box-removed-{}", self.moved);
            self.moved += 1;
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&parent, name, &self.top, &target, flags) {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                result => return result,
            }
        }
    }
}

fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Unlinks a name. The immutable and append-only flags (chattr(1)) of the file and its directory are cleared if they are in the way.
fn unlink(directory: &OwnedFd, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(directory, name, flags) {
        Err(Errno::PERM | Errno::ACCESS) => {}
        result => return result,
    }
    let marks = |file: &OwnedFd| -> Result<(), Errno> {
        let flags = rustix::fs::ioctl_getflags(file)?;
        rustix::fs::ioctl_setflags(file, flags - (IFlags::IMMUTABLE | IFlags::APPEND))
    };
    let nonblocking =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // If the flags cannot be cleared, the second unlink below fails with the reason.
    marks(directory).ok();
    if let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        && matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Directory
        )
        && let Ok(file) = rustix::fs::openat(directory, name, nonblocking, Mode::empty())
    {
        marks(&file).ok();
    }
    rustix::fs::unlinkat(directory, name, flags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_tree_of_any_depth_goes() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut inner = open(CWD, &top).unwrap();
        for number in 0..3000 {
            rustix::fs::mkdirat(&inner, "deeper", Mode::RWXU).unwrap();
            if number % 100 == 0 {
                rustix::fs::symlinkat("/", &inner, "link").unwrap();
                rustix::fs::mkdirat(&inner, "beside", Mode::RWXU).unwrap();
            }
            inner = open(&inner, "deeper").unwrap();
        }
        drop(inner);
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("keep/in")).unwrap();
        fs::create_dir(dir.path().join("top")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("keep"), dir.path().join("top/link")).unwrap();
        remove_tree(&dir.path().join("top")).unwrap();
        assert!(dir.path().join("keep/in").exists());
        std::os::unix::fs::symlink(dir.path().join("keep"), dir.path().join("top")).unwrap();
        assert!(remove_tree(&dir.path().join("top")).is_err());
        assert!(dir.path().join("keep/in").exists());
    }

    #[test]
    fn immutable_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("in")).unwrap();
        fs::write(top.join("in/file"), "").unwrap();
        for path in [top.join("in/file"), top.join("in")] {
            let file = fs::File::open(path).unwrap();
            match rustix::fs::ioctl_setflags(&file, IFlags::IMMUTABLE) {
                // tmpfs does not support these flags on older kernels.
                Err(Errno::NOTTY | Errno::OPNOTSUPP) => return,
                result => result.unwrap(),
            }
        }
        remove_tree(&top).unwrap();
    }
}
