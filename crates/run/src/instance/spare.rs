//! Spare directories for instances that go with their command.
//!
//! Making and removing directories on disk is the most expensive thing that box itself does for a start: ext4 looks for an
//! inode, some of them not to be used again for a minute, and frees a block. So the directory of an instance that went, with
//! the overlay's work directory in it, is set aside for the next one. The container could never reach either of them; what it
//! could, its upper directory, is made anew each time.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, unlinkat};

/// The most that are kept: as many as start at one time on a small machine.
const MOST: usize = 8;

/// Makes a spare directory the one of an instance. False: there is none.
pub(super) fn take(dir: &Path) -> bool {
    (0..MOST).any(|slot| rustix::fs::rename(place(dir, slot), dir).is_ok())
}

/// Sets the directory of an instance aside if nothing is left in it. False: it is to be removed.
pub(super) fn put(dir: &Path) -> bool {
    is_clean(dir)
        && (0..MOST).any(|slot| {
            rustix::fs::renameat_with(CWD, dir, CWD, place(dir, slot), RenameFlags::NOREPLACE)
                .is_ok()
        })
}

/// No instance can have this name.
fn place(dir: &Path, slot: usize) -> PathBuf {
    dir.with_file_name(format!(".spare-{slot}"))
}

/// Takes away what a volatile overlay leaves, by name. Whether only an empty work directory is left then.
fn is_clean(dir: &Path) -> bool {
    const LEFT: [(&str, AtFlags); 5] = [
        ("work/work/incompat/volatile/dirty", AtFlags::empty()),
        ("work/work/incompat/volatile", AtFlags::REMOVEDIR),
        ("work/work/incompat", AtFlags::REMOVEDIR),
        ("work/work", AtFlags::REMOVEDIR),
        ("upper", AtFlags::REMOVEDIR),
    ];
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return false;
    };
    LEFT.iter()
        .all(|(name, kind)| unlinkat(&open, *name, *kind).is_ok())
        && std::fs::read_dir(dir).is_ok_and(|entries| entries.count() == 1)
}
