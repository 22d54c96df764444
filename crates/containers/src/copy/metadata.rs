//! Metadata of a copy, set by its descriptor, whatever has its name by then.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timestamps, Uid};
use rustix::io::Errno;

use super::options::CopyOptions;
use crate::files::descriptor::path_of;
use crate::files::xattrs;
use crate::ids::Mapping;

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// Sets the owner first, as that clears set-id bits and capabilities; then xattrs; then the mode, so that set-id bits are set when
/// everything else is right; times last.
pub(super) fn apply(
    options: &CopyOptions,
    source: &OwnedFd,
    stat: &Stat,
    made: &OwnedFd,
) -> Result<(), Errno> {
    let (uid, gid) = owner(options, stat);
    let path = path_of(made);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(made.as_fd(), "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if !link {
        if options.archive {
            let mapping = match options.inward {
                true => Mapping::Outside(options.ids),
                false => Mapping::Inside(options.ids),
            };
            xattrs::copy(&path_of(source), &path, mapping)?;
        }
        // A set-id program never comes out of a container by accident.
        let kept = if options.archive || options.inward {
            0o7777
        } else {
            0o7777 & !SET_ID
        };
        rustix::fs::chmod(&path, Mode::from_raw_mode(stat.st_mode & kept))?;
    }
    let time = |seconds: i64, nanoseconds| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
    };
    // AT_EMPTY_PATH sets the times of a link itself.
    match rustix::fs::utimensat(made.as_fd(), "", &times, AtFlags::EMPTY_PATH) {
        // Linux before 5.8.
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}

fn owner(options: &CopyOptions, stat: &Stat) -> (u32, u32) {
    match (options.archive, options.inward) {
        (false, _) => options.owner,
        (true, true) => (
            options.ids.outside(stat.st_uid),
            options.ids.outside(stat.st_gid),
        ),
        (true, false) => (
            options.ids.inside(stat.st_uid),
            options.ids.inside(stat.st_gid),
        ),
    }
}
