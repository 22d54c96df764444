//! Data and holes of a sparse file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// How much is read of a file that reports no size, as files in /proc do.
pub(crate) const MOST_UNSIZED: u64 = 16 << 20;

/// The data ranges of a file, as its file system reports them (lseek(2), `SEEK_DATA`). They end at the size that the file had when
/// this was created, however it grows.
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

    /// Start and end of the next range.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, u64)>, Errno> {
        if self.position >= self.size {
            return Ok(None);
        }
        let start = match rustix::fs::seek(self.file, SeekFrom::Data(self.position)) {
            Ok(start) if start < self.size => start,
            // A hole extends to the end.
            Ok(_) | Err(Errno::NXIO) => {
                self.position = self.size;
                return Ok(None);
            }
            // The file system does not report holes.
            Err(_) => self.position,
        };
        let end = match rustix::fs::seek(self.file, SeekFrom::Hole(start)) {
            // If the range was punched out meanwhile, the hole begins at its start.
            Ok(end) if end > start => end.min(self.size),
            _ => self.size,
        };
        self.position = end;
        Ok(Some((start, end)))
    }
}
