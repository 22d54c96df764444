//! The content of a file, copied with its holes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::files::extents::{Extents, MOST_UNSIZED};

/// Bytes that are copied between two calls of `stop`.
const AT_ONCE: u64 = 16 << 20;

/// Copies a file of `size` bytes to a new one and keeps its holes. Returns the number of bytes written. If the file was truncated
/// meanwhile, so is the copy. [`Errno::INTR`] if `stop` returns true.
pub(super) fn copy(
    source: &OwnedFd,
    size: u64,
    target: &OwnedFd,
    stop: &dyn Fn() -> bool,
) -> Result<u64, Errno> {
    if size == 0 {
        let ended = by_hand(source, target, 0, MOST_UNSIZED)?;
        return Ok(ended);
    }
    rustix::fs::ftruncate(target, size)?;
    let mut extents = Extents::of(source, size);
    let mut bytes = 0;
    while let Some((start, end)) = extents.next()? {
        let ended = range(source, target, start, end, stop)?;
        bytes += ended - start;
        if ended < end {
            rustix::fs::ftruncate(target, ended)?;
            break;
        }
    }
    // A part that was truncated meanwhile looks like a hole.
    let now = rustix::fs::fstat(source)?.st_size as u64;
    if now < size {
        rustix::fs::ftruncate(target, now)?;
    }
    Ok(bytes)
}

/// Copies a range. Returns where it ended, which is earlier if the file is shorter.
fn range(
    source: &OwnedFd,
    target: &OwnedFd,
    start: u64,
    end: u64,
    stop: &dyn Fn() -> bool,
) -> Result<u64, Errno> {
    let mut position = start;
    let mut in_kernel = true;
    while position < end {
        if stop() {
            return Err(Errno::INTR);
        }
        let length = (end - position).min(AT_ONCE);
        if in_kernel {
            let (mut read_at, mut write_at) = (position, position);
            let copied = rustix::fs::copy_file_range(
                source,
                Some(&mut read_at),
                target,
                Some(&mut write_at),
                length as usize,
            );
            match copied {
                Ok(count) if count > 0 => {
                    position += count as u64;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(errno),
                // Not supported between these two files, or the end of the file: a read shows which.
                Ok(_) | Err(_) => in_kernel = false,
            }
        }
        let ended = by_hand(source, target, position, position + length)?;
        if ended < position + length {
            return Ok(ended);
        }
        position = ended;
    }
    Ok(end)
}

/// Copies between file systems that the kernel does not copy between. Returns where the file ended, or `end`.
fn by_hand(source: &OwnedFd, target: &OwnedFd, mut position: u64, end: u64) -> Result<u64, Errno> {
    let mut buffer = vec![0; 256 << 10];
    while position < end {
        let length = (end - position).min(buffer.len() as u64) as usize;
        let count = match rustix::io::pread(source, &mut buffer[..length], position) {
            Err(Errno::INTR) => continue,
            Ok(0) => break,
            other => other?,
        };
        let mut written = 0;
        while written < count {
            match rustix::io::pwrite(target, &buffer[written..count], position + written as u64) {
                Err(Errno::INTR) => {}
                other => written += other?,
            }
        }
        position += count as u64;
    }
    Ok(position)
}

/// Writes the content of a file to one that may not be seekable: a device, a pipe, a terminal.
pub(super) fn write_content(source: &OwnedFd, size: u64, target: &OwnedFd) -> Result<u64, Errno> {
    let end = if size == 0 { MOST_UNSIZED } else { size };
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    while position < end {
        let length = (end - position).min(buffer.len() as u64) as usize;
        let count = match rustix::io::pread(source, &mut buffer[..length], position) {
            Err(Errno::INTR) => continue,
            Ok(0) => break,
            other => other?,
        };
        let mut written = 0;
        while written < count {
            match rustix::io::write(target, &buffer[written..count]) {
                Err(Errno::INTR) => {}
                other => written += other?,
            }
        }
        position += count as u64;
    }
    Ok(position)
}
