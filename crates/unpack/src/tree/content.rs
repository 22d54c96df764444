//! Writing a file's content, straight from the decoder's buffer to the kernel.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Doing, Failure};
use crate::archive::Archive;
use crate::entry::SparseMap;

/// From this size on, space for a file is reserved beforehand.
const PREALLOCATED: u64 = 8 << 20;

/// How much is reserved at once: a header may claim more than follows, and some file systems are in memory.
const STEP: u64 = 64 << 20;

/// Writes the content of the archive's current entry to a new file.
pub(super) fn write<R: BufRead>(
    file: &OwnedFd,
    size: u64,
    sparse: Option<&SparseMap>,
    archive: &mut Archive<R>,
) -> Result<(), Failure> {
    let Some(map) = sparse else {
        let step = if size >= PREALLOCATED { STEP } else { size };
        let mut done = 0;
        while done < size {
            let next = step.min(size - done);
            if size >= PREALLOCATED {
                preallocate(file, done, next)?;
            }
            copy(file, done, next, archive)?;
            done += next;
        }
        return Ok(());
    };
    // Parts that are never written are the holes.
    rustix::fs::ftruncate(file, size).doing("set the size of the sparse file")?;
    for segment in map.segments() {
        copy(file, segment.offset, segment.length, archive)?;
    }
    Ok(())
}

/// Detects a full disk before the work instead of after it, and keeps the file in one piece. Without support by the file system,
/// nothing is lost.
fn preallocate(file: &OwnedFd, offset: u64, length: u64) -> Result<(), Failure> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, length) {
        Err(errno @ (Errno::NOSPC | Errno::FBIG | Errno::DQUOT)) => {
            Err(Failure::Kernel("reserve room for the file", errno))
        }
        _ => Ok(()),
    }
}

fn copy<R: BufRead>(
    file: &OwnedFd,
    mut offset: u64,
    mut length: u64,
    archive: &mut Archive<R>,
) -> Result<(), Failure> {
    while length > 0 {
        let content = archive.content()?;
        let take = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let written = match rustix::io::pwrite(file, &content[..take], offset) {
            Err(Errno::INTR) => continue,
            other => other.doing("write the file")?,
        };
        if written == 0 {
            return Err(Failure::Kernel("write the file", Errno::IO));
        }
        archive.consume(written);
        offset += written as u64;
        length -= written as u64;
    }
    Ok(())
}
