//! Where a file has data, and where it has holes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// What a file that says that it has no size may hold all the same, as those of /proc: so much is read.
pub(crate) const MOST_UNSIZED: u64 = 16 << 20;

/// The stretches of a file that are not holes, as far as its file system knows (lseek(2), `SEEK_DATA`). Never beyond the size that
/// the file had when this was made, however it grows.
pub(crate) struct Extents<'a> {
    file: BorrowedFd<'a>,
    position: u64,
    size: u64,
}

impl<'a> Extents<'a> {
    pub(crate) fn of(file: &'a OwnedFd, size: u64) -> Self {
        Self {
            file: file.as_fd(),
            position: 0,
            size,
        }
    }

    /// The next stretch: where it begins, and where it ends.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, u64)>, Errno> {
        if self.position >= self.size {
            return Ok(None);
        }
        let start = match rustix::fs::seek(self.file, SeekFrom::Data(self.position)) {
            Ok(start) if start < self.size => start,
            // Nothing but a hole up to the end.
            Ok(_) | Err(Errno::NXIO) => {
                self.position = self.size;
                return Ok(None);
            }
            // Not every file system knows of holes.
            Err(_) => self.position,
        };
        let end = match rustix::fs::seek(self.file, SeekFrom::Hole(start)) {
            // A hole made this moment may begin where the data began.
            Ok(end) if end > start => end.min(self.size),
            _ => self.size,
        };
        self.position = end;
        Ok(Some((start, end)))
    }
}
