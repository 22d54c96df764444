//! A file's bytes: straight from the decoder's buffer to the kernel.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Doing, Failure};
use crate::archive::Archive;
use crate::entry::SparseMap;

/// From this size on the file system is told beforehand how long a file will be.
const PREALLOCATED: u64 = 8 << 20;

/// So much of it at once: a header may claim what never comes, and memory is what some file systems are made of.
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
    // The holes are what is never written.
    rustix::fs::ftruncate(file, size).doing("set the size of the sparse file")?;
    for segment in map.segments() {
        copy(file, segment.offset, segment.length, archive)?;
    }
    Ok(())
}

/// Finding out that the disk is full before the work is better than after, and the file is in one piece; where it cannot be told,
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
