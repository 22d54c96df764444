//! Reading log files that grow meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, inotify};
use rustix::io::Errno;

use crate::files::descriptor::path_of;

/// The lines of a text without its last line break.
pub(super) struct Lines<'a>(pub(super) Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0.take()?;
        let Some(at) = memchr::memchr(b'\n', text) else {
            return Some(text);
        };
        self.0 = Some(&text[at + 1..]);
        Some(&text[..at])
    }
}

/// Fills the buffer as far as the file goes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The next offset at which a file has data, as no record is in a hole.
pub(super) fn past_hole(file: &File, offset: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data.max(offset),
        // No more data, or the file system does not report holes.
        Err(Errno::NXIO) => file
            .metadata()
            .map_or(offset, |found| found.len().max(offset)),
        Err(_) => offset,
    }
}

/// Watches for writes and rotations; `None` if the user's limit of inotify(7) is reached.
pub(super) fn watch(directory: BorrowedFd<'_>) -> Option<OwnedFd> {
    use inotify::WatchFlags;
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    // By descriptor, as the container may be renamed.
    let path = path_of(directory);
    let flags = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::CREATE;
    inotify::add_watch(&watch, path, flags).ok()?;
    Some(watch)
}
