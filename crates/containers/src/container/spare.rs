//! Spare directories for containers with `--rm`.
//!
//! Creating and removing directories on disk is the most expensive part of a start that box controls: ext4 searches for an inode,
//! may not reuse a recent one for a minute, and frees a block, which without a journal waits for the disk. On ext4 with other work on
//! the disk, creating and removing the six directories of a container and its overlay took 13 ms (median), renaming one twice 0.04 ms.
//! So the directory of a container that wrote nothing is kept. The next start cleans it while it waits for its own container, and the
//! one after that uses it. The upper directory, the only one that a container could reach, is created anew.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, RenameFlags, flock, fstat, mkdirat, open,
    renameat_with, rmdir, statat, unlinkat,
};
use rustix::io::Errno;

use crate::files::DefaultMask;
use crate::files::removal;

/// The most spare directories of each kind: as many as containers start at one time on a small machine.
const MOST: usize = 8;

/// Renames a spare directory, which contains `upper` and `work`, to `dir`. Returns whether there was one.
pub(super) fn take(dir: &Path) -> bool {
    (0..MOST).any(|slot| rustix::fs::rename(ready(dir, slot), dir).is_ok())
}

/// Keeps the directory of a container as a spare if the container left nothing in it. Otherwise returns false: it has to be removed.
pub(super) fn put(dir: &Path) -> bool {
    is_unused(dir) && move_to_a_slot(dir, |slot| used(dir, slot))
}

/// Cleans one used spare beside `dir` for as long as there is `time`. If it cannot be cleaned, it is removed; if that fails too, the
/// next start tries again.
pub(super) fn clean_one(dir: &Path, time: &dyn Fn() -> bool) {
    for slot in 0..MOST {
        let place = used(dir, slot);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(directory) = open(&place, flags, Mode::empty()) else {
            continue;
        };
        // Another start may be cleaning it, or have cleaned it.
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_still(directory.as_fd(), &place)
        {
            continue;
        }
        let cleaned = clean(directory.as_fd(), time);
        if cleaned == Err(Errno::TIME) {
            return;
        }
        if cleaned.is_err() || !move_to_a_slot(&place, |slot| ready(dir, slot)) {
            let removed = rmdir(&place).or_else(|_| removal::remove_tree(&place));
            if let Err(error) = removed {
                tracing::debug!(%error, "cannot remove a spare directory");
                continue;
            }
        }
        return;
    }
}

/// Not a valid name of a container, like that of [`used`].
fn ready(dir: &Path, slot: usize) -> PathBuf {
    dir.with_file_name(format!(".spare-{slot}"))
}

fn used(dir: &Path, slot: usize) -> PathBuf {
    dir.with_file_name(format!(".spare-used-{slot}"))
}

fn move_to_a_slot(dir: &Path, slot: impl Fn(usize) -> PathBuf) -> bool {
    (0..MOST)
        .any(|number| renameat_with(CWD, dir, CWD, slot(number), RenameFlags::NOREPLACE).is_ok())
}

/// Whether the upper directory is empty, and there is nothing beside it: no log, no mount point.
fn is_unused(dir: &Path) -> bool {
    holds(&dir.join("upper"), &[]) && holds(dir, &[c"upper", c"work"])
}

/// Whether a directory has exactly these entries.
fn holds(dir: &Path, names: &[&CStr]) -> bool {
    // Room for the expected entries; if there are more, the answer is known.
    let mut space = [MaybeUninit::uninit(); 256];
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = open(dir, flags, Mode::empty()) else {
        return false;
    };
    let mut entries = RawDir::new(directory, &mut space);
    let mut found = 0;
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if [c".", c".."].contains(&entry.file_name()) => {}
            Ok(entry) if names.contains(&entry.file_name()) => found += 1,
            _ => return false,
        }
    }
    found == names.len()
}

fn is_still(directory: BorrowedFd<'_>, place: &Path) -> bool {
    let named = statat(CWD, place, AtFlags::SYMLINK_NOFOLLOW);
    let opened = fstat(directory);
    matches!((named, opened), (Ok(named), Ok(opened)) if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino))
}

/// Removes the files of a volatile overlay by name and recreates the upper directory. If the time is over ([`Errno::TIME`]), or the
/// process is killed, the next start does the rest.
fn clean(directory: BorrowedFd<'_>, time: &dyn Fn() -> bool) -> Result<(), Errno> {
    const LEFT: [(&str, AtFlags); 5] = [
        ("work/work/incompat/volatile/dirty", AtFlags::empty()),
        ("work/work/incompat/volatile", AtFlags::REMOVEDIR),
        ("work/work/incompat", AtFlags::REMOVEDIR),
        ("work/work", AtFlags::REMOVEDIR),
        ("upper", AtFlags::REMOVEDIR),
    ];
    for (name, kind) in LEFT {
        if !time() {
            return Err(Errno::TIME);
        }
        match unlinkat(directory, name, kind) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    let _mask = DefaultMask::set();
    mkdirat(directory, "upper", Mode::from_raw_mode(0o755))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;
    use std::fs;

    use super::*;

    /// The directory of a container as the kernel leaves it.
    fn gone(containers: &Path, name: &str) -> PathBuf {
        let dir = containers.join(name);
        fs::create_dir_all(dir.join("work/work/incompat/volatile")).unwrap();
        fs::create_dir(dir.join("upper")).unwrap();
        fs::write(dir.join("work/work/incompat/volatile/dirty"), "").unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_is_set_aside_cleaned_and_taken() {
        let top = tempfile::tempdir().unwrap();
        let (one, two) = (gone(top.path(), "one"), top.path().join("two"));
        assert!(put(&one));
        assert!(!take(&two), "it is not clean yet");
        let before = fs::metadata(used(&one, 0).join("upper")).unwrap();
        clean_one(&two, &|| true);
        assert_eq!(names(top.path()), [".spare-0"]);
        assert!(take(&two));
        assert_eq!(names(&two), ["upper", "work"]);
        assert_eq!(names(&two.join("work")), [] as [&str; 0]);
        let after = fs::metadata(two.join("upper")).unwrap();
        assert_ne!(
            std::os::unix::fs::MetadataExt::ctime_nsec(&before),
            std::os::unix::fs::MetadataExt::ctime_nsec(&after),
            "the container could reach the old one"
        );
    }

    #[test]
    fn what_a_container_wrote_is_not_set_aside() {
        let top = tempfile::tempdir().unwrap();
        let one = gone(top.path(), "one");
        fs::write(one.join("upper/secret"), "").unwrap();
        assert!(!put(&one));
        let two = gone(top.path(), "two");
        fs::create_dir(two.join("log")).unwrap();
        assert!(!put(&two));
        assert_eq!(names(top.path()), ["one", "two"]);
    }

    #[test]
    fn without_time_the_rest_is_left_to_the_next_start() {
        let top = tempfile::tempdir().unwrap();
        let one = gone(top.path(), "one");
        assert!(put(&one));
        for steps in 0..5u32 {
            let left = Cell::new(steps);
            clean_one(&one, &|| left.replace(left.get().saturating_sub(1)) > 0);
            assert_eq!(names(top.path()), [".spare-used-0"], "after {steps} steps");
        }
        clean_one(&one, &|| true);
        assert_eq!(names(top.path()), [".spare-0"]);
    }

    #[test]
    fn what_is_being_cleaned_by_another_is_left_alone() {
        let top = tempfile::tempdir().unwrap();
        let (one, two) = (gone(top.path(), "one"), gone(top.path(), "two"));
        assert!(put(&one) && put(&two));
        let held = fs::File::open(used(&one, 0)).unwrap();
        held.lock().unwrap();
        clean_one(&one, &|| true);
        assert_eq!(names(top.path()), [".spare-0", ".spare-used-0"]);
        clean_one(&one, &|| true);
        assert_eq!(names(top.path()), [".spare-0", ".spare-used-0"]);
    }

    #[test]
    fn what_holds_anything_else_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let one = gone(top.path(), "one");
        fs::write(one.join("work/work/#1"), "").unwrap();
        assert!(put(&one));
        clean_one(&one, &|| true);
        assert_eq!(names(top.path()), [] as [&str; 0]);
    }
}
