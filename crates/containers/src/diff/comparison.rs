//! Comparison of a file in a copy of the layers with the original.

use std::io::Read;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::upper::File;
use crate::files::descriptor::{path_of, reopen};
use crate::files::xattrs;

/// Compares two files other than directories. The content is read if everything else is the same, as a file can be changed and given
/// its old modification time.
pub(super) fn is_same_file(copy: &File, original: &File) -> Result<bool, Errno> {
    if described(&copy.stat) != described(&original.stat)
        || xattrs::read(&path_of(&copy.handle))? != xattrs::read(&path_of(&original.handle))?
    {
        return Ok(false);
    }
    match FileType::from_raw_mode(copy.stat.st_mode) {
        FileType::RegularFile => same_content(copy, original),
        FileType::Symlink => {
            let target = |file: &File| rustix::fs::readlinkat(&file.handle, c"", vec![]);
            Ok(target(copy)? == target(original)?)
        }
        _ => Ok(true),
    }
}

/// The metadata of a file that a layer records.
fn described(stat: &Stat) -> impl PartialEq + use<> {
    (
        (stat.st_mode, stat.st_uid, stat.st_gid),
        (stat.st_rdev, stat.st_size),
        (stat.st_mtime, stat.st_mtime_nsec),
    )
}

fn same_content(one: &File, other: &File) -> Result<bool, Errno> {
    let reader = |file: &File| reopen(&file.handle, OFlags::RDONLY).map(std::fs::File::from);
    let (mut one, mut other) = (reader(one)?, reader(other)?);
    let mut buffers = [vec![0; 128 << 10], vec![0; 128 << 10]];
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    loop {
        let [first, second] = &mut buffers;
        let count = one.read(first).map_err(errno)?;
        if count == 0 {
            return Ok(other.read(&mut second[..1]).map_err(errno)? == 0);
        }
        match other.read_exact(&mut second[..count]) {
            Ok(()) if first[..count] == second[..count] => {}
            Ok(()) => return Ok(false),
            // The running container has truncated it.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(errno(error)),
        }
    }
}
